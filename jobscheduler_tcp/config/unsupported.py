"""
What JobScheduler 1.x knows in its configuration file and this version does not
do.

Each name has the values that ask for nothing, or for what we do anyhow; those
are passed over in silence, others with a warning.
"""

from __future__ import annotations

from collections.abc import Mapping

Unsupported = Mapping[str, tuple[str, ...]]


def _never(names: str) -> Unsupported:
    return dict.fromkeys(names.split(), ())


NOTHING: Unsupported = {}

CONFIG_ATTRIBUTES = _never("""
    central_configuration_directory configuration_directory db dtd include_path java_class_path
    java_options log_dir mail_xslt_stylesheet main_scheduler param port priority_max supervisor
    time_zone timezone udp_port
""")
CONFIG_ELEMENTS = _never("""
    base cluster commands extensions holidays http_server job_chains locks monitors plugins
    schedules script supervisor web_services
""")
PROCESS_CLASSES_ATTRIBUTES: Unsupported = {"ignore": ("no",)}
PROCESS_CLASS_ATTRIBUTES: Unsupported = {
    **_never("spooler_id select http_heartbeat_timeout http_heartbeat_period timeout"),
    "replace": ("yes",),
}
PROCESS_CLASS_ELEMENTS = _never("remote_schedulers")
JOB_ATTRIBUTES: Unsupported = {
    **_never("""
        force_idle_timeout idle_timeout ignore_signals java_options log_append min_tasks priority
        separate_process spooler_id tasks visible warn_if_longer_than warn_if_shorter_than
    """),
    "enabled": ("yes",),
    "order": ("no",),
    "replace": ("yes",),
    "stop_on_error": ("no",),
    "temporary": ("no",),
}
# An element without attributes and content, as <run_time/>, asks for nothing.
JOB_ELEMENTS = _never("""
    commands delay_after_error delay_order_after_setback description holidays lock.use monitor
    monitor.use run_time settings start_when_directory_changed
""")
