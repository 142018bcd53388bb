"""Import strings: from ``module:Class`` to the class, and whether it would take a config. Starts nothing."""

import contextlib
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ValidationError

from supervisors.core.errors import SpecError
from supervisors.spec import codes
from supervisors.spec.fields import is_import_string
from supervisors.spec.findings import Loc, did_you_mean, nearest


class ActorKind(StrEnum):
    """What an import string names."""

    ACTOR = "actor"  #: a subclass of ``actors.base.Actor``
    PLAIN = "plain"  #: any other class; its config is keyword arguments of the constructor
    RAY = "ray"  #: a class under ``@ray.remote``; taken out of its wrapper, then as PLAIN


@dataclass(frozen=True, slots=True)
class ActorClass:
    """A class that can run as a child.

    Attributes:
        kind: how it is made and run.
        cls: the class itself; for ``RAY`` the one inside the wrapper.
        config_model: the pydantic model of its config; None for plain classes.
    """

    kind: ActorKind
    cls: type
    config_model: type[BaseModel] | None = None


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """Why a class refuses a config; ``loc`` is within the config."""

    code: int
    loc: Loc
    message: str
    fix: str
    on_key: bool = False


def import_paths(file: Path) -> tuple[str, ...]:
    """Folders actors are looked for in, after the installed packages: the topology's own, then the current one.

    They come last so that a file beside the topology cannot shadow the standard library or ``actors`` itself.
    """
    return tuple(dict.fromkeys((str(file.resolve().parent), str(Path.cwd()))))


@contextlib.contextmanager
def importable(folders: tuple[str, ...]) -> Iterator[None]:
    """Have ``folders`` at the end of ``sys.path`` for a while."""
    added = [folder for folder in folders if folder not in sys.path]
    sys.path.extend(added)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        for folder in added:
            with contextlib.suppress(ValueError):
                sys.path.remove(folder)


def load_actor(text: str) -> ActorClass:
    """Import what ``text`` (``module:Class``) names.

    Raises:
        SpecError: with code 1109 (no import string), 1301 (module), 1302 (attribute), 1303 (no class) or 1304
            (the module raised while it was imported; its last line is in the message).
    """
    if not is_import_string(text):
        fix = "write module:Class, such as actors.venue.feed:SimulatedFeed"
        raise SpecError(f"{text!r} is no import string", code=codes.BAD_IMPORT_STRING, fix=fix)
    module_name, _, names = text.partition(":")
    found: object = _module(module_name)
    for name in names.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            known = [n for n in dir(found) if isinstance(getattr(found, n, None), type) and not n.startswith("_")]
            message = f"{module_name} has no {names!r}"
            raise SpecError(message, code=codes.ATTRIBUTE_MISSING, fix=did_you_mean(name, known)) from error
    return _classify(found, text)


def _module(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing == name or name.startswith(f"{missing}."):
            raise SpecError(
                f"module {missing!r} is not found", code=codes.MODULE_NOT_FOUND, fix=_module_fix(missing)
            ) from error
        raise _raised(name, error) from error
    except (Exception, SystemExit) as error:
        raise _raised(name, error) from error


def _raised(name: str, error: BaseException) -> SpecError:
    last = f"{type(error).__name__}: {_last_line(error)}".rstrip(": ")
    return SpecError(f"importing {name} raised {last}", code=codes.IMPORT_RAISED, fix=f"try: python -c 'import {name}'")


def _module_fix(missing: str) -> str:
    parent = missing.rpartition(".")[0]
    fallback = "install it, or put it beside the topology file or in the current folder"
    folders = getattr(sys.modules.get(parent), "__path__", None) if parent else [*sys.path]
    if folders is None:
        return fallback
    near = nearest(missing.rpartition(".")[2], [m.name for m in pkgutil.iter_modules(list(folders))])
    return f"did you mean '{parent}{'.' if parent else ''}{near}'?" if near else fallback


def _classify(found: object, text: str) -> ActorClass:
    # what @ray.remote leaves in place of a class; read by name, since this room does not import ray
    inner = getattr(getattr(found, "__ray_metadata__", None), "modified_class", None)
    if isinstance(inner, type):
        return ActorClass(ActorKind.RAY, inner)
    if not isinstance(found, type):
        what = "a function" if inspect.isroutine(found) else f"{type(found).__name__} object"
        raise SpecError(f"{text} is {what}, not a class", code=codes.NOT_A_CLASS, fix="name a class")
    if getattr(found, "__rayvisor_actor__", 0):
        model = getattr(found, "Config", None)
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            fix = "make Config a subclass of pydantic.BaseModel"
            raise SpecError(f"Config of {text} is no pydantic model", code=codes.NOT_A_CLASS, fix=fix)
        return ActorClass(ActorKind.ACTOR, found, model)
    return ActorClass(ActorKind.PLAIN, found)


def config_problems(actor: ActorClass, config: dict[str, object], config_json: bytes) -> list[ConfigProblem]:
    """Why ``actor`` would refuse ``config`` (given as data and as the JSON its host gets); empty when it takes it."""
    if actor.config_model is not None:
        return _model_problems(actor.config_model, config_json)
    return _signature_problems(actor.cls, config)


def _model_problems(model: type[BaseModel], config_json: bytes) -> list[ConfigProblem]:
    try:
        # from JSON, as the host does: strict models read JSON and Python values differently
        model.model_validate_json(config_json)
    except ValidationError as error:
        return [
            _from_pydantic(model, d["type"], d["loc"], d["msg"])
            for d in error.errors(include_url=False, include_context=False, include_input=False)
        ]
    except Exception as error:  # noqa: BLE001  a validator of the user's may raise anything
        message = f"the config's own check raised {type(error).__name__}: {_last_line(error)}"
        return [ConfigProblem(codes.CONFIG_REFUSED, (), message, f"mend the validator in {model.__qualname__}")]
    return []


def _from_pydantic(model: type[BaseModel], kind: str, loc: Loc, text: str) -> ConfigProblem:
    name = ".".join(str(part) for part in loc)
    if kind == "missing":
        return ConfigProblem(codes.CONFIG_MISSING, loc[:-1], f"config has no {name}", f"add {loc[-1]}:")
    if kind == "extra_forbidden":
        fix = did_you_mean(str(loc[-1]), model.model_fields) if len(loc) == 1 else "remove it"
        return ConfigProblem(codes.CONFIG_UNKNOWN, loc, f"config key {name!r} is not known to the actor", fix, True)
    fix = f"see {model.__qualname__} in {model.__module__}"
    return ConfigProblem(codes.CONFIG_REFUSED, loc, f"config {name}: {text}".replace("config :", "config:"), fix)


def _signature_problems(cls: type, config: dict[str, object]) -> list[ConfigProblem]:
    try:
        parameters = inspect.signature(cls).parameters
    except (TypeError, ValueError):
        return [
            ConfigProblem(
                codes.CONFIG_UNCHECKED,
                (),
                f"the constructor of {cls.__name__} has no signature to check the config against",
                "",
            )
        ]
    keywords = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known = {n: p for n, p in parameters.items() if p.kind in keywords}
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    problems = [
        ConfigProblem(
            codes.CONFIG_UNKNOWN,
            (key,),
            f"the constructor of {cls.__name__} takes no {key!r}",
            did_you_mean(key, known),
            on_key=True,
        )
        for key in config
        if key not in known and not takes_any
    ]
    for name, parameter in parameters.items():
        needed = parameter.default is inspect.Parameter.empty
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY and needed:
            message = f"the constructor of {cls.__name__} takes {name!r} by position only; config gives keywords"
            problems.append(ConfigProblem(codes.CONFIG_REFUSED, (), message, "let it be given by keyword"))
        elif parameter.kind in keywords and needed and name not in config:
            message = f"the constructor of {cls.__name__} needs {name!r}"
            problems.append(ConfigProblem(codes.CONFIG_MISSING, (), message, f"add config: {{{name}: ...}}"))
    return problems


def _last_line(error: BaseException) -> str:
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # noqa: BLE001  __str__ of a user's error may raise as well
        return ""
    return lines[-1][:300] if lines else ""
