#!/bin/bash
#
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
#
# Run the tests on Debian 12, and install what they need.
#
#   tools/test.sh [unit|functional|live|style|all] [FILTER...]
#   tools/test.sh unit|functional|live --nova 31|32|33|34 [FILTER...]
#   tools/test.sh releases
#   tools/test.sh faults [--rounds N] [--seed S]
#   tools/test.sh native [FILTER...]
#
# FILTER is a regular expression of test names, handed to stestr. The tier
# faults breaks the services of the sandbox; all runs a dozen rounds of it, and
# each operation of the life cycle on one architecture (live runs it on both).
# The tier native is no part of all: it has live tests with a host that starts
# empty cells by itself, and installs a later Debian in a folder for that once,
# in about three minutes.
# Tests run with the newest release of Nova that is supported, with --nova on
# another one, in a virtual environment of its own. The tier releases runs the
# contract, the unit tests and a sample of the functional ones on each of the
# older ones; it is no part of all, for it installs each of them.
# Every tier ends with a line "N passed, N failed". Everything is kept below
# SANDBOX_STATE (by default .sandbox in the checkout). Root is needed only to
# install packages of Debian that are missing, and by live and faults.

set -o errexit -o nounset -o pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
CHECKOUT=$PWD
STATE=${SANDBOX_STATE:-$CHECKOUT/.sandbox}
[[ $STATE == /* ]] || STATE=$CHECKOUT/$STATE
NEWEST_NOVA=34
OLDER_NOVAS=(31 32 33)
# Functional tests for each older release in the tier releases: what Nova
# promises nobody, and each way in which this package meets Nova.
SAMPLE='test_contract|TestResize.test_grow_twice|TestMoves.test_.*_1_grown'
SAMPLE+='|TestOnlining.test_agent_begins_to_listen|TestWorking.test_windows'
# The last two compile what AppArmor and SELinux are to know.
PACKAGES=(git python3-venv apparmor secilc)
# Rounds of the tier faults that are part of all.
FAULTS_OF_ALL=12
# Tests of the tier live that all leaves out: they are done on x86_64, and what
# is special about aarch64 is in those that stay; and one that starts dozens of
# trial guests.
LEFT_OUT_OF_ALL='(LostDevice|HugePages|BothWays)Test\..*_aarch64'
LEFT_OUT_OF_ALL+='|test_table_of_the_host'
LIVE_OPTIONS=()

export PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# A mirror or an index may be away for a moment.
export PIP_RETRIES=10
APT=(apt-get -q -o Acquire::Retries=5)
export OS_STDOUT_CAPTURE=1 OS_STDERR_CAPTURE=1
# Root may test the checkout of another user.
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=*

usage() {
    echo "usage: $0 [unit|functional|live|style|all] [FILTER...]" >&2
    echo "       $0 unit|functional|live --nova 31|32|33|34 [FILTER...]" >&2
    echo "       $0 releases" >&2
    echo "       $0 faults [--rounds N] [--seed S]" >&2
    echo "       $0 native [FILTER...]" >&2
    exit 2
}

fail() {
    echo "test.sh: $*" >&2
    exit 1
}

# What the tests need

# use_nova RELEASE: test with this release of Nova from now on.
use_nova() {
    NOVA=$1
    WORK=$STATE/test
    VENV=$STATE/test-venv
    CONSTRAINTS=$CHECKOUT/sandbox/constraints.txt
    REQUIREMENTS=(-r test-requirements.txt -r doc/requirements.txt)
    if [[ $NOVA != "$NEWEST_NOVA" ]]; then
        WORK+=-$NOVA
        VENV+=-$NOVA
        CONSTRAINTS=$CHECKOUT/sandbox/constraints-$NOVA.txt
        REQUIREMENTS=(-r tests/requirements.txt)
    fi
    [[ -e $CONSTRAINTS ]] || usage
}

install_packages() {
    local missing=() name
    for name in "${PACKAGES[@]}"; do
        dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null |
            grep -qx installed || missing+=("$name")
    done
    if [[ ${#missing[@]} -gt 0 ]]; then
        [[ $EUID == 0 ]] || fail "as root, install ${missing[*]}"
        "${APT[@]}" update
        DEBIAN_FRONTEND=noninteractive "${APT[@]}" install -y \
            --no-install-recommends "${missing[@]}"
    fi
}

pip_install() {
    "$VENV/bin/python" -m pip -q install -c "$CONSTRAINTS" "$@"
}

# Build from a copy: nothing is left behind in the checkout.
build_wheel() {
    local version copy=$WORK/copy
    version=$(git describe --tags --abbrev=0 2>/dev/null || echo 0.1.0)
    rm -rf "$copy" "$WORK/wheel"
    mkdir -p "$copy"
    git ls-files -z --cached --others --exclude-standard |
        tar --create --null --files-from=- --ignore-failed-read \
            2>"$WORK/copy.log" | tar --extract --directory="$copy"
    PBR_VERSION=$version "$VENV/bin/python" -m pip -q wheel --no-deps \
        --no-build-isolation --no-index -w "$WORK/wheel" "$copy"
}

# The plugin is installed as a wheel, as Nova is one: an editable install
# cannot add a module to the package nova.virt.
make_venv() {
    local wanted wheel
    wanted=$(cat "$CONSTRAINTS" test-requirements.txt tests/requirements.txt \
        doc/requirements.txt pyproject.toml | sha256sum)
    if [[ $(cat "$VENV/test.sha256" 2>/dev/null) != "$wanted" ]]; then
        rm -f "$VENV/test.sha256"
        [[ -x $VENV/bin/pip ]] || /usr/bin/python3 -m venv --clear "$VENV"
        pip_install setuptools wheel pbr
        pip_install "${REQUIREMENTS[@]}"
    fi
    build_wheel
    wheel=$(echo "$WORK"/wheel/*.whl)
    if [[ ! -e $VENV/test.sha256 ]]; then
        pip_install "$wheel[nova,cli]"
        echo "$wanted" >"$VENV/test.sha256"
    fi
    pip_install --no-deps --no-index --force-reinstall "$wheel"
}

prepare() {
    local start=$SECONDS
    install_packages
    mkdir -p "$WORK"
    make_venv
    PATH=$VENV/bin:$PATH
    echo "ready to test with Nova $NOVA after $((SECONDS - start)) s"
}

# Tiers of tests

# Read a subunit stream, print "PASSED FAILED SKIPPED".
count() {
    "$VENV/bin/python" -c '
import sys
import subunit
import testtools

summary = testtools.StreamSummary()
summary.startTestRun()
subunit.ByteStreamToStreamResult(
    sys.stdin.buffer, non_subunit_name="output").run(summary)
summary.stopTestRun()
failed = sum(map(len, (
    summary.errors, summary.failures, summary.unexpectedSuccesses)))
skipped = len(summary.skipped)
print(summary.testsRun - failed - skipped, failed, skipped)
'
}

# Print the closing lines; false when anything failed or nothing ran.
report() {
    local passed=$1 failed=$2
    echo "$TIER took $((SECONDS - TIER_START)) s"
    echo "$passed passed, $failed failed"
    [[ $passed -gt 0 && $failed == 0 ]]
}

# run_stestr TIER OPTION FILTER...: OPTION is for "stestr run", may be empty.
run_stestr() {
    local tier=$1 option=$2 repository=$WORK/stestr-$1
    local rc=0 passed=0 failed=0 skipped=0
    shift 2
    rm -rf "$repository"
    mkdir -p "$repository"
    watched stestr --test-path "tests/$tier" --top-dir "$CHECKOUT" \
        --repo-url "$repository" run ${option:+"$option"} "$@" || rc=$?
    read -r passed failed skipped < <(
        stestr --repo-url "$repository" last --subunit 2>/dev/null |
            count) || true
    # A module that cannot be imported is no test that failed.
    [[ $rc == 0 || $failed -gt 0 ]] || failed=1
    [[ $skipped == 0 ]] || echo "$skipped skipped"
    report "$passed" "$failed"
}

source tools/in_sandbox.sh

tier_unit() {
    run_stestr unit '' "$@"
}

# Tests wait for services now and then: one more than there are processors.
tier_functional() {
    run_stestr functional "--concurrency=$(($(nproc) + 1))" "$@"
}

# The sandbox does not come up.
sandbox_failed() {
    report 0 1 || true
}

# tests/live/test_tempest.py has the tests of the Tempest plugin.
run_live() {
    export TEMPEST_CONFIG_DIR=$WORK/tempest
    rm -rf "$TEMPEST_CONFIG_DIR"
    if ! sandbox/sandbox tempest "$TEMPEST_CONFIG_DIR"; then
        sandbox_failed
        return 1
    fi
    run_stestr live --serial "${LIVE_OPTIONS[@]}" "$@"
}

tier_live() {
    if [[ $NOVA != "$NEWEST_NOVA" ]]; then
        export SANDBOX_STATE=$STATE/nova-$NOVA SANDBOX_CACHE=$STATE/cache
    fi
    in_sandbox "--computes 2 --nova $NOVA" run_live "$@"
}

tier_native() {
    in_sandbox '--hosts 12,13' run_stestr native --serial "$@"
}

tier_faults() {
    in_sandbox '--computes 1' watched python -m tests.faults "$@"
}

# Style

check_flake8() {
    flake8 . && check-uuid --package nova_memhotplug_tempest_plugin
}

check_mypy() {
    mypy --cache-dir "$WORK/mypy" nova_memhotplug \
        nova_memhotplug_tempest_plugin
}

check_shell() {
    tools/shell_files.sh | xargs bashate -e E006
}

sphinx() {
    sphinx-build -q -W --keep-going -b html -d "$WORK/doctrees/$1" "$2" \
        "$WORK/html/$1"
}

check_docs() {
    sphinx doc doc/source
}

check_api_ref() {
    sphinx api-ref api-ref/source
}

check_release_notes() {
    reno -q lint
}

check_config_sample() {
    oslo-config-generator --namespace nova_memhotplug \
        --output-file "$WORK/config.sample" &&
        grep -q '^\[memhotplug\]' "$WORK/config.sample"
}

check_policy_sample() {
    oslopolicy-sample-generator --namespace nova_memhotplug \
        --output-file "$WORK/policy.sample" &&
        grep -q 'memhotplug:server_memory:resize' "$WORK/policy.sample"
}

# The tools that others deploy OpenStack with: in an environment of their own,
# as they want other versions than Nova. kolla-ansible's own dependencies are
# left out, since only a module of it is used.
check_deploy() {
    local venv=$STATE/deploy-venv wanted
    wanted=$(sha256sum <tests/deploy/requirements.txt)
    if [[ $(cat "$venv/test.sha256" 2>/dev/null) != "$wanted" ]]; then
        /usr/bin/python3 -m venv --clear "$venv"
        "$venv/bin/python" -m pip -q install \
            -r tests/deploy/requirements.txt &&
            "$venv/bin/python" -m pip -q install --no-deps \
                kolla-ansible==22.2.0 || return
        echo "$wanted" >"$venv/test.sha256"
    fi
    NOVA_API_PASTE=$VENV/etc/nova/api-paste.ini \
        "$venv/bin/python" -m tests.deploy
}

# A nova/__init__.py of ours would overwrite Nova's.
check_wheel() {
    python - "$WORK"/wheel/*.whl <<'END'
import sys
import zipfile

names = zipfile.ZipFile(sys.argv[1]).namelist()
nova = [name for name in names if name.startswith('nova/')]
if nova != ['nova/virt/memhotplug/__init__.py']:
    sys.exit('the wheel holds %s' % nova)
libexec = {name for name in names if '/libexec/' in name}
if libexec != {'nova_memhotplug/libexec/' + name for name in (
        'apparmor-guests', 'apparmor-libvirtd', 'nova-memhotplug.cil',
        'qemu-memhotplug-shim')}:
    sys.exit('the wheel holds %s' % libexec)
foreign = [name for name in names if name.startswith(('tests', 'sandbox'))]
if foreign:
    sys.exit('the wheel holds %s' % foreign)
END
}

tier_style() {
    local passed=0 failed=0 check
    for check in flake8 mypy shell docs api_ref release_notes \
            config_sample policy_sample wheel deploy; do
        if "check_$check" >"$WORK/$check.log" 2>&1; then
            echo "$check: ok"
            passed=$((passed + 1))
        else
            echo "$check: FAILED"
            cat "$WORK/$check.log"
            failed=$((failed + 1))
        fi
    done
    report "$passed" "$failed"
}

# run_tier TIER ARGUMENT...
run_tier() {
    TIER=$1
    TIER_START=$SECONDS
    shift
    echo "== $TIER on Nova $NOVA"
    "tier_$TIER" "$@"
}

main() {
    local tiers=("${1:-all}") novas=() nova tier rounds= rc=0
    use_nova "$NEWEST_NOVA"
    [[ $# == 0 ]] || shift
    if [[ ${1:-} == --nova ]]; then
        [[ ${tiers[0]} =~ ^(unit|functional|live)$ ]] || usage
        use_nova "${2:-}"
        shift 2
    fi
    case ${tiers[0]} in
        all)
            tiers=(style unit functional live) rounds=$FAULTS_OF_ALL
            LIVE_OPTIONS=(--exclude-regex "$LEFT_OUT_OF_ALL")
            export MEMHOTPLUG_LIFECYCLE=${MEMHOTPLUG_LIFECYCLE:-sample}
            ;;
        releases) tiers=() novas=("${OLDER_NOVAS[@]}") ;;
        unit|functional|live|style|faults|native) ;;
        *) usage ;;
    esac
    [[ ${#tiers[@]} == 0 ]] || prepare
    for tier in "${tiers[@]}"; do
        run_tier "$tier" "$@" || rc=1
    done
    if [[ -n $rounds ]]; then
        run_tier faults --rounds "$rounds" || rc=1
    fi
    for nova in "${novas[@]}"; do
        use_nova "$nova"
        prepare
        run_tier unit || rc=1
        run_tier functional "$SAMPLE" || rc=1
    done
    exit "$rc"
}

main "$@"
