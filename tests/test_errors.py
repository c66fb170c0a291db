"""The exit code and the one line that a script ends with."""

from __future__ import annotations

import pytest

from sfm.errors import HubError, InputError, PluginError, RunError, SfmError, one_line_errors


@pytest.mark.parametrize(
    ("raised", "code"), [(InputError, 2), (RunError, 1), (PluginError, 3), (HubError, 4)]
)
def test_a_script_ends_with_one_line_and_the_errors_code(raised, code, capsys) -> None:
    @one_line_errors
    def main(argv: list[str]) -> int:
        raise raised(f"--steps {argv[0]}: give 1 or more")

    assert main(["0"]) == code
    assert capsys.readouterr() == ("", "error: --steps 0: give 1 or more\n")


def test_an_interrupted_script_says_so(capsys) -> None:
    @one_line_errors
    def main() -> int:
        raise KeyboardInterrupt

    assert main() == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_what_is_no_error_of_ours_keeps_its_traceback() -> None:
    @one_line_errors
    def main() -> int:
        raise ZeroDivisionError

    assert not issubclass(ZeroDivisionError, SfmError)
    with pytest.raises(ZeroDivisionError):
        main()


def test_a_result_is_passed_on() -> None:
    assert one_line_errors(lambda code: code)(7) == 7
