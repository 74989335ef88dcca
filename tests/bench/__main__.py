#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""The benchmark: ``tools/bench.sh`` is how to start it.

    python -m tests.bench [--quick] [--json FILE] [--before FILE] [--publish]
                          [--only PART]...
    python -m tests.bench --from FILE [--before FILE] [--publish]
    python -m tests.bench --clean
"""

import argparse
import json
import pathlib
import signal
import sys

from tests.bench import draw
from tests.bench import report

PAGES = (pathlib.Path(__file__).resolve().parents[2] /
         'doc' / 'source' / 'admin')


def main():
    """Run the command.

    :returns: the exit code: 1 if something could not be measured. What was
        measured decides nothing.
    """
    args = _parser().parse_args()
    # An ordinary end, so that what must be put back is put back.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    if args.clean:
        from tests.bench import run
        run.clean()
        return 0
    result = _result(args)
    before = json.loads(args.before.read_text()) if args.before else None
    print(report.text(result, before))
    if args.publish:
        publish(result, before)
    for problem in result['problems']:
        print('NOT MEASURED: %s' % problem)
    return 1 if result['problems'] else 0


def _result(args):
    if args.stored:
        return json.loads(args.stored.read_text())
    # What draws pictures needs no cloud.
    from tests.bench import run
    unknown = set(args.only) - run.PARTS.keys()
    if unknown:
        sys.exit('bench: parts are %s' % ', '.join(run.PARTS))

    def keep(result):
        if args.json:
            args.json.write_text(json.dumps(result, indent=1) + '\n')

    return run.measure(args.quick, args.only, keep)


def publish(result, before=None, folder=PAGES):
    """Write the tables and the pictures of the page.

    :param result: a result
    :param before: an earlier one to compare with; or None
    :param folder: where the page is
    """
    for name, content in (
        ('performance.inc', report.rst(result, before)),
        ('performance-growth.svg', draw.growths(result)),
        ('performance-scale.svg', draw.scale(result)),
    ):
        (folder / name).write_text(str(content))


def _parser():
    parser = argparse.ArgumentParser(
        prog='bench', description='Measure what a growth costs.')
    parser.add_argument('--quick', action='store_true',
                        help='fewer samples; about ten minutes')
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE',
                        help='write the result there')
    parser.add_argument('--before', type=pathlib.Path, metavar='FILE',
                        help='a result of an older build, to compare with')
    parser.add_argument('--publish', action='store_true',
                        help='write tables and pictures of the page')
    parser.add_argument('--only', action='append', default=[],
                        metavar='PART', help='may be repeated')
    parser.add_argument('--from', dest='stored', type=pathlib.Path,
                        metavar='FILE', help='measure nothing, use a result')
    parser.add_argument('--clean', action='store_true',
                        help='remove what a killed run has left')
    return parser


if __name__ == '__main__':
    sys.exit(main())
