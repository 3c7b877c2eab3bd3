"""The entry point of the MAP: `python -m app` runs once over the folders that the runner mounts.

HOLOSCAN_INPUT_PATH and HOLOSCAN_OUTPUT_PATH name the folders, HOLOSCAN_MODEL_PATH the folder of model packs; without
packs there, those shipped with the code are used. Exit codes are those of `spondyl run`.
"""

import sys

from app.logs import configure_logging
from app.preflight import check_one_shot
from app.settings import SettingsError, load_settings, map_folders, with_packs_of
from models.errors import SpondylError

EXIT_UNUSABLE = 2


def main() -> int:
    """Run once and return the exit code."""
    try:
        settings = load_settings()
        configure_logging(settings.log_level, process="map")
        folders = map_folders()
        if folders.input is None or folders.output is None:
            raise SettingsError("set HOLOSCAN_INPUT_PATH and HOLOSCAN_OUTPUT_PATH, or use `spondyl run INPUT OUTPUT`")
        settings = with_packs_of(settings, folders.model)
        check_one_shot(settings, folders.output)
        from app.run import run_folder  # noqa: PLC0415  what is missing is told before anything heavy loads

        report = run_folder(folders.input, folders.output, settings=settings)
    except SpondylError as error:
        print(f"spondyl: {error}", file=sys.stderr)
        return EXIT_UNUSABLE
    for series in report.series:
        print(f"{series.series_instance_uid}  {series.status}  {series.reason}")
    return report.exit_code


if __name__ == "__main__":
    raise SystemExit(main())
