"""Why a caller is not let in. `router.http.errors` makes responses of these."""


class Unauthorised(Exception):
    """The caller did not send a valid key or secret; `message` says which is required."""

    def __init__(self, message: str, *, code: str = "unauthorised") -> None:
        super().__init__(message)
        self.code = code


class SignInAway(Exception):
    """Supabase Auth does not provide the keys that verify its tokens."""
