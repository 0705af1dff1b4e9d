"""A tenant's settings: where its WhatsApp and its flow are, and which webhooks are accepted."""

from typing import Annotated, Literal

from pydantic import BaseModel

from router.configuration.declaring import Names, Setting


class ConnectionSettings(BaseModel):
    """Where its WhatsApp and its flow are, and which webhooks are accepted."""

    instance_name: Annotated[
        str,
        Setting(
            about="The exact name of the instance in Evolution: the tenant gets its webhooks",
            must="not be empty or have a slash in it",
            set_by="deployment",
            followed=True,
            required=True,
        ),
    ]
    evo_server_url: Annotated[
        str,
        Setting(
            about="Where Evolution runs: scheme, host and port",
            example="https://evolution.example.com",
            form="address",
            required=True,
        ),
    ]
    is_active: Annotated[
        bool,
        Setting(about="false: record everything, answer nothing", default=True, followed=True),
    ]
    webhook_networks: Annotated[
        Names | None,
        Setting(
            about="Networks that its webhooks may come from, within WEBHOOK_NETWORKS",
            otherwise="anywhere",
            most=50,
            longest=60,
            must="name a network, or be null: any",
            example=["203.0.113.0/24"],
            form="names",
        ),
    ]
    shared_webhook_secret: Annotated[
        bool,
        Setting(
            about="false: EVOLUTION_WEBHOOK_SHARED_SECRET is refused, only its own secrets are"
            " accepted",
            default=True,
        ),
    ]
    n8n_flow: Annotated[
        str | None,
        Setting(
            about="The flow in n8n that makes its replies: its webhook's path, below"
            " N8N_WEBHOOK_URL",
            otherwise="`hybridflow-turn`",
            must="be the path of a webhook in n8n: letters, digits, - and _, with / between",
            example="padaria/hybridflow-turn",
            set_by="deployment",
        ),
    ]
    n8n_contract: Annotated[
        Literal["answer", "gateway"] | None,
        Setting(
            about="How that flow replies: it returns what to say (answer), or sends by itself"
            " (gateway)",
            variable="n8n_contract",
            deployment="default",
            set_by="deployment",
        ),
    ]
