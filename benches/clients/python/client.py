"""One fresh process, one measurement, one JSON line. Usage: client.py MEASUREMENT SIDE DRIVER"""

import sys


def main(measurement, side, driver):
    if measurement == "import":
        import imports

        report = imports.measure(side)
    elif measurement == "first-row":
        import first_row

        report = first_row.measure(side, driver)
    elif driver.startswith("asyncpg"):
        import async_measurements

        report = async_measurements.measure(measurement, side, driver)
    else:
        import measurements

        report = measurements.measure(measurement, side, driver)

    import json

    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
