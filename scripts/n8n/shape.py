"""Whether a file contains a workflow at all. All other rules rely on this."""

from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

_Text = Annotated[str, Field(min_length=1)]


class _Node(BaseModel):
    id: _Text
    name: _Text
    type: _Text
    typeVersion: float  # noqa: N815 - n8n's own name
    parameters: dict[str, Any]
    credentials: dict[str, Any] | None = None


class _Link(BaseModel):
    node: str


class _Item(BaseModel):
    json_: Any = Field(default=None, alias="json")


class _Workflow(BaseModel):
    id: _Text
    name: _Text
    nodes: list[_Node] = Field(min_length=1)
    connections: dict[str, dict[str, list[list[_Link] | None]]]
    settings: dict[str, Any] | None = None
    pinData: dict[str, list[_Item]] | None = None  # noqa: N815 - n8n's own name


def shape_fault(content: Any) -> str | None:
    """Return what is wrong with a file's structure, and the fix; None: the rules can check it."""
    try:
        workflow = _Workflow.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        where = f" ({place}: {first['msg']})" if place else ""
        return f"it is not a workflow{where}. Export it again."
    names = [node.name for node in workflow.nodes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        return f'two nodes are named "{twice[0]}". Rename one.'
    targets = {
        link.node
        for outputs in workflow.connections.values()
        for groups in outputs.values()
        for group in groups
        for link in group or ()
    }
    if lost := sorted((set(workflow.connections) | targets) - set(names)):
        return f'a connection names "{lost[0]}", but there is no such node. Connect it again.'
    return None
