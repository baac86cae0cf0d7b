"""Models: what is offered by default, and how a cut answer of each is continued."""

from __future__ import annotations

import re

import pytest
from pydantic import SecretStr, TypeAdapter, ValidationError

from shared.models import Model, ProviderName, claude_continuation, default_models
from tests.support import ROOT


@pytest.mark.parametrize(
    ("name", "continuation"),
    [
        ("claude-3-haiku-20240307", "prefill"),
        ("claude-3-5-sonnet-20241022", "prefill"),
        ("claude-3-7-sonnet-latest", "prefill"),
        ("claude-sonnet-4-20250514", "prefill"),
        ("claude-opus-4-1-20250805", "prefill"),
        ("claude-haiku-4-5", "prefill"),
        ("claude-sonnet-4-5-20250929", "prefill"),
        ("claude-opus-4-6", "user_turn"),
        ("claude-sonnet-5", "user_turn"),
        ("claude-sonnet-5-5", "user_turn"),
        ("claude-opus-10-1", "user_turn"),
        ("claude-next", "user_turn"),
        ("", "user_turn"),
    ],
)
def test_models_from_4_6_on_continue_by_a_user_turn(name: str, continuation: str) -> None:
    """A prefill is answered 400 by them; dates in a name are no versions; the unknown takes the safe way."""
    assert claude_continuation(name) == continuation


def test_nothing_is_offered_without_a_key_or_the_simulator() -> None:
    """A model nobody can reach is no model."""
    assert default_models((), sim=False) == {}


def test_claude_is_offered_with_a_key_and_comes_first() -> None:
    """The first model is the default one: never the simulator where there is a real one."""
    models = default_models(["anthropic"], sim=True)
    assert next(iter(models.values())).provider == "anthropic"
    assert models["sim"].provider == "sim"
    for name, model in models.items():
        if model.provider == "anthropic":
            assert model.continuation == claude_continuation(name)


@pytest.mark.parametrize("name", ["openai", "google"])
def test_the_models_of_each_key_are_offered(name: ProviderName) -> None:
    """After Claude, where there is a key for that too."""
    assert {model.provider for model in default_models([name], sim=False).values()} == {name}
    assert next(iter(default_models([name, "anthropic"], sim=False).values())).provider == "anthropic"


def test_a_key_is_for_an_address_and_never_shown() -> None:
    """A model's key is for its own server; a provider's own key has a setting."""
    with pytest.raises(ValidationError):
        Model(provider="openai", api_key=SecretStr("sk-secret-1"))
    model = Model(provider="openai", base_url="http://own", api_key=SecretStr("sk-secret-1"))
    assert "sk-secret-1" not in repr(model) + str(model) + model.model_dump_json()


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"provider": "x"},
        {"provider": "sim", "max_tokens": 0},
        {"provider": "sim", "a": 1},
        {"provider": "anthropic", "api": "responses"},
        {"provider": "openai", "api": "assistants"},
        {"provider": "openai", "thinking": "budget"},
        {"provider": "anthropic", "thinking": "effort"},
    ],
)
def test_a_model_that_cannot_work_is_refused(wrong: dict[str, object]) -> None:
    """Misspelt fields are told at the start, not found out by the first request."""
    with pytest.raises(ValidationError):
        Model.model_validate(wrong)


def test_every_field_but_the_provider_is_documented() -> None:
    """``TAILRACE_MODELS`` is written by people."""
    for name, field in Model.model_fields.items():
        assert field.description or name == "provider", f"{name} has no description"


def test_the_models_that_the_documentation_shows_are_models() -> None:
    """They are there to be copied."""
    page = (ROOT / "docs" / "providers.md").read_text()
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    shown = TypeAdapter(dict[str, Model]).validate_json(example)
    assert {model.provider for model in shown.values()} == {"anthropic", "openai", "google"}


def test_a_model_cannot_be_changed() -> None:
    """Models are shared by every request."""
    with pytest.raises(ValidationError):
        Model(provider="sim").max_tokens = 5  # type: ignore[misc]
