"""Runs the unittests of tests/scripts/*_test.py and writes a JUnit file: usage run_checks.py OUTPUT.xml."""

import pathlib
import sys
import unittest
import xml.etree.ElementTree as xml

FOLDER = pathlib.Path(__file__).resolve().parent / "scripts"


class Recorder(unittest.TextTestResult):
    """Also keeps what passed, which unittest forgets."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.passed = []

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed.append(test)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: run_checks.py OUTPUT.xml")
    suite = unittest.defaultTestLoader.discover(str(FOLDER), "*_test.py")
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2, resultclass=Recorder).run(suite)
    report = xml.Element("testsuite", name="checks")
    for test in result.passed:
        xml.SubElement(report, "testcase", name=str(test))
    for test, message in result.failures + result.errors:
        xml.SubElement(xml.SubElement(report, "testcase", name=str(test)), "failure").text = message
    for test, reason in result.skipped:
        xml.SubElement(xml.SubElement(report, "testcase", name=str(test)), "skipped", message=reason)
    xml.ElementTree(report).write(sys.argv[1], encoding="utf-8", xml_declaration=True)
    sys.exit(not result.wasSuccessful())


if __name__ == "__main__":
    main()
