"""``python -m graticule`` and the ``graticule`` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from graticule.cli import run  # noqa: PLC0415 - keeps `python -m graticule` free of imports it does not need

    run()


if __name__ == "__main__":
    main()
