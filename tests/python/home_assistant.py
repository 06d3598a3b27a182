"""Checks messages for Home Assistant against a released Home Assistant: what it takes, by its own source.

    python3 home_assistant.py homeassistant-2026.2.3-py3-none-any.whl < messages.json

`messages.json`: {"config": [...], "state": [...]}, payloads as they were published. Home Assistant itself needs a newer Python
than many machines have; the parts of its source that say what it takes are read out of the package and run here.
"""

import ast
import json
import sys
import types
import zipfile

import voluptuous as vol

WHEEL = zipfile.ZipFile(sys.argv[1])
MQTT = "homeassistant/components/mqtt/"


def source(name):
    return ast.parse(WHEEL.read(name).decode())


def constants(*names):
    """The names that these files give to texts."""
    found = {}
    for name in names:
        for node in source(name).body:
            targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
            for target in targets:
                if isinstance(target, ast.Name) and isinstance(node.value, ast.Constant):
                    found[target.id] = node.value.value
                elif isinstance(target, ast.Name) and isinstance(node.value, ast.Name):
                    found[target.id] = found.get(node.value.id)
    return found


def assignment(name, wanted):
    """What a file assigns to a name, as syntax."""
    for node in source(name).body:
        for target in getattr(node, "targets", []):
            if isinstance(target, ast.Name) and target.id == wanted:
                return node.value
    raise SystemExit(f"{name} has no {wanted} any more: look at what has taken its place")


def keys(tree, names):
    """The keys of all vol.Required, vol.Optional and vol.Exclusive in a piece of syntax."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in ("Required", "Optional", "Exclusive") and node.args:
                key = node.args[0]
                key = names[key.id] if isinstance(key, ast.Name) else key.value
                found[key] = node.func.attr
    return found


NAMES = constants("homeassistant/const.py", MQTT + "const.py", MQTT + "update.py")
SHORT = {}
exec(compile(source(MQTT + "abbreviations.py"), "abbreviations", "exec"), SHORT)


def expand(payload, short):
    return {short.get(key, key): value for key, value in payload.items()}


def allowed(payload, schema, what):
    unknown = set(payload) - set(schema)
    missing = {key for key, kind in schema.items() if kind == "Required"} - set(payload)
    if unknown or missing:
        raise SystemExit(f"{what}: unknown {sorted(unknown)}, missing {sorted(missing)}")


def check_config(payload):
    config = expand(json.loads(payload), SHORT["ABBREVIATIONS"])
    shared = keys(assignment(MQTT + "schemas.py", "_MQTT_AVAILABILITY_LIST_SCHEMA"), NAMES)
    entry = {key: kind for key, kind in shared.items() if key not in ("availability", "availability_mode")}
    device = keys(assignment(MQTT + "schemas.py", "DEVICE_DISCOVERY_SCHEMA"), NAMES)
    common = {"availability": "Optional", "availability_mode": "Optional"}
    allowed(config, {**device, **common}, "config")
    for one in config["availability"]:
        allowed(expand(one, SHORT["ABBREVIATIONS"]), entry, "availability")
    assert config["availability_mode"] in ("all", "any", "latest")
    about = expand(config["device"], SHORT["DEVICE_ABBREVIATIONS"])
    allowed(about, keys(assignment(MQTT + "schemas.py", "MQTT_ENTITY_DEVICE_INFO_SCHEMA"), NAMES), "device")
    assert about["identifiers"] and all(isinstance(value, (str, list)) for value in about.values()), about
    assert about["configuration_url"].startswith(("http://", "https://"))
    origin = expand(config["origin"], SHORT["ORIGIN_ABBREVIATIONS"])
    allowed(origin, keys(assignment(MQTT + "schemas.py", "MQTT_ORIGIN_INFO_SCHEMA"), NAMES), "origin")
    entity = {
        **keys(assignment(MQTT + "update.py", "PLATFORM_SCHEMA_MODERN"), NAMES),
        **keys(assignment(MQTT + "schemas.py", "MQTT_ENTITY_COMMON_SCHEMA"), NAMES),
        "platform": "Required",
        "state_topic": "Required",
    }
    for component in config["components"].values():
        component = expand(component, SHORT["ABBREVIATIONS"])
        allowed(component, entity, "component")
        assert component["platform"] == "update" and component["unique_id"]
        # Without it there is no button (MqttUpdate.supported_features).
        assert component["payload_install"] and component["command_topic"]


def text(value):
    """As config_validation.string: anything but null, lists and dictionaries."""
    if value is None or isinstance(value, (list, dict)):
        raise vol.Invalid("string value is None or no text")
    return str(value)


CHECKS = types.SimpleNamespace(string=text, boolean=bool, url=vol.Url())
STATE = eval(
    compile(ast.Expression(assignment(MQTT + "update.py", "MQTT_JSON_UPDATE_SCHEMA")), "state", "eval"),
    {"vol": vol, "cv": CHECKS},
)


def check_state(payload):
    state = json.loads(payload)
    STATE(state)
    # cv.boolean takes no null.
    assert isinstance(state.get("in_progress", False), bool)


messages = json.load(sys.stdin)
for one in messages["config"]:
    check_config(one)
for one in messages["state"]:
    check_state(one)
for wrong in ('{"installed_version": null}', '{"progress": 3}', '{"update_percentage": 101}'):
    try:
        check_state(wrong)
    except vol.Invalid:
        continue
    raise SystemExit(f"the schema takes {wrong}: this check is worth nothing")
print(f"{len(messages['config'])} configurations and {len(messages['state'])} states are what Home Assistant takes")
