import subprocess
import sys


def test_python_m_runs_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "overopt", "trian"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "train" in done.stderr
