"""What ./quickstart and ./test say where they cannot go on (scripts/setup.sh)."""

import os
import pathlib
import subprocess
import tempfile
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def setup(commands, folder, **environment):
    """Runs bash commands after scripts/setup.sh was sourced."""
    script = f"set -euo pipefail; source {REPOSITORY}/scripts/setup.sh; {commands}"
    return subprocess.run(["bash", "-c", script, "quickstart"], capture_output=True, text=True, cwd=folder,
                          env={**os.environ, **environment})


class Arguments(unittest.TestCase):
    def run_script(self, name, *arguments):
        return subprocess.run([REPOSITORY / name, *arguments], capture_output=True, text=True)

    def test_help_names_every_option(self):
        done = self.run_script("quickstart", "--help")
        self.assertEqual(done.returncode, 0)
        for option in ("--text", "--minutes", "--output", "--build-only", "DLCM_TORCH"):
            self.assertIn(option, done.stdout)

    def test_wrong_arguments_end_with_2_before_anything_is_done(self):
        wrong = (["quickstart", "--txt", "a"], ["quickstart", "--minutes", "soon"], ["quickstart", "--minutes", "0"],
                 ["quickstart", "--minutes"], ["quickstart", "--text", "/no/such"], ["test", "--fast"])
        for command in wrong:
            done = self.run_script(*command)
            self.assertEqual((done.returncode, done.stdout), (2, ""), command)
            self.assertEqual(len(done.stderr.splitlines()), 1)


class Setup(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.folder = pathlib.Path(directory.name)

    def torch(self, folder, *libraries):
        (folder / "share/cmake/Torch").mkdir(parents=True)
        (folder / "share/cmake/Torch/TorchConfig.cmake").touch()
        (folder / "lib").mkdir()
        for name in libraries:
            (folder / "lib" / name).touch()

    def test_dlcm_torch_names_the_folder_of_libtorch(self):
        self.torch(self.folder / "libtorch")
        done = setup('find_torch; echo "$TORCH"', self.folder, DLCM_TORCH="libtorch")
        self.assertEqual(done.stdout.strip(), str(self.folder / "libtorch"), done.stderr)

    def test_a_wrong_dlcm_torch_is_the_users_error(self):
        done = setup("find_torch", self.folder, DLCM_TORCH=str(self.folder))
        self.assertEqual(done.returncode, 2)
        self.assertIn("DLCM_TORCH", done.stderr)

    def test_a_cuda_build_without_a_toolkit_stops_with_a_sentence_that_names_dlcm_torch(self):
        self.torch(self.folder / ".venv/lib/python3.11/site-packages/torch", "libtorch_cuda.so")
        done = setup("pip_install() { :; }; has_cuda_toolkit() { false; }; find_torch", self.folder, DLCM_TORCH="")
        self.assertEqual(done.returncode, 1)
        self.assertIn("DLCM_TORCH", done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1)

    def test_missing_packages_without_root_are_listed_in_one_sentence(self):
        tools = self.folder / "bin"
        tools.mkdir()
        for name in ("comm", "sort", "sed"):
            (tools / name).symlink_to(f"/usr/bin/{name}" if name != "sed" else "/bin/sed")
        (tools / "dpkg-query").write_text("#!/bin/sh\necho 'cmake installed'\necho 'mold not-installed'\n")
        (tools / "dpkg-query").chmod(0o755)
        done = setup(f"id() {{ echo 1000; }}; PATH={tools}; install_packages cmake mold g++", self.folder)
        self.assertEqual(done.returncode, 1)
        self.assertIn("g++ mold", done.stderr)
        self.assertNotIn("cmake", done.stderr)

    def test_compile_jobs_are_at_least_one(self):
        self.assertGreaterEqual(int(setup("compile_jobs", self.folder).stdout), 1)
