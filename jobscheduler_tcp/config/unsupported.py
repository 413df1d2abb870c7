"""
What JobScheduler 1.x knows in its configuration file and this version does not
do.

Each name has the values that ask for nothing, or for what we do anyhow; those,
and none at all, are passed over in silence, others with a warning.
"""

from __future__ import annotations

from collections.abc import Mapping

Unsupported = Mapping[str, tuple[str, ...]]


def _never(names: str) -> Unsupported:
    return dict.fromkeys(names.split(), ())


NOTHING: Unsupported = {}

CONFIG_ATTRIBUTES = _never("""
    central_configuration_directory db dtd java_class_path java_options log_dir
    mail_xslt_stylesheet main_scheduler param priority_max supervisor
    time_zone timezone udp_port
""")
CONFIG_ELEMENTS = _never("""
    base cluster commands extensions holidays http_server locks monitors plugins
    schedules script supervisor web_services
""")
PROCESS_CLASSES_ATTRIBUTES: Unsupported = {"ignore": ("no",)}
PROCESS_CLASS_ATTRIBUTES: Unsupported = {
    **_never("http_heartbeat_timeout http_heartbeat_period spooler_id"),
    "replace": ("yes",),
}
REMOTE_SCHEDULER_ATTRIBUTES = _never("http_heartbeat_timeout http_heartbeat_period")
JOB_ATTRIBUTES: Unsupported = {
    **_never("credentials_key java_options spooler_id warn_if_longer_than warn_if_shorter_than"),
    "load_user_profile": ("no", "false"),
    "log_append": ("no",),
    "min_tasks": ("0",),
    "priority": ("normal", "0"),
    "separate_process": ("yes",),
    "stderr_log_level": ("info",),
    "replace": ("yes",),
    "temporary": ("no",),
}
CHAIN_ATTRIBUTES: Unsupported = {
    **_never("file_watching_process_class max_orders process_class spooler_id"),
    "distributed": ("no",),
    "replace": ("yes",),
}
CHAIN_ELEMENTS = _never("file_order_source job_chain_node.job_chain")
# A sink is an end state; what becomes of the file is not our business.
SINK_ATTRIBUTES = _never("move_to remove")
SCRIPT_ATTRIBUTES = _never("com_class encoding filename java_class java_class_path use_engine")
NODE_ATTRIBUTES = _never("priority stopped suspend")
NODE_ELEMENTS = _never("on_return_codes params")
ORDER_ATTRIBUTES: Unsupported = {
    **_never("job web_service"),
    "replace": ("yes",),
}
ORDER_ELEMENTS = _never("xml_payload")
PROCESS_ATTRIBUTES = _never("log_file")
# An element without attributes and content, as <run_time/>, asks for nothing.
JOB_ELEMENTS = _never("""
    commands holidays lock.use login monitor monitor.use settings start_when_directory_changed
""")
