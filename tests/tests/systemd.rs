//! The packages and their units on a machine with systemd: installed, configured, started, stopped and removed, as their
//! guide says.
//!
//! Each test has a machine of its own, in a container; where none can be had, it says why and is skipped.

use std::path::PathBuf;

use pearlbed_tests::build;
use pearlbed_tests::machine::Machine;

/// What shows what went wrong with the service.
const STORY: &str = "systemctl status pearlbed --no-pager -l; journalctl -u pearlbed --no-pager -n 40";

/// As bad as `systemd-analyze security` may find the system unit: what it found before the unit had a user of its own.
const EXPOSURE_MAX: f64 = 3.5;

const WALLET: &str = "prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k";

fn package(extension: &str) -> Option<PathBuf> {
    let files = std::fs::read_dir(build::packages()).expect("the packages were just made").flatten();
    files.map(|file| file.path()).find(|path| path.extension().is_some_and(|found| found == extension))
}

#[expect(clippy::print_stdout, reason = "what could not be tested is said, not hidden")]
fn skipped(why: &str) -> Option<Machine> {
    println!("skipped: nothing was run under systemd: {why}");
    None
}

/// A machine with the `.deb` on it, and a `sudo` for lines of the guide; or a line about why this test is skipped.
fn machine() -> Option<Machine> {
    let Some(deb) = package("deb") else {
        return skipped("no dpkg-deb on this machine, so there is no package to install");
    };
    let machine = match Machine::boot() {
        Ok(machine) => machine,
        Err(why) => return skipped(&why),
    };
    machine.copy(&deb, "/srv/pearlbed.deb");
    machine.ok("dpkg --install /srv/pearlbed.deb");
    machine.ok("printf '#!/bin/sh\\nexec \"$@\"\\n' >/usr/local/bin/sudo && chmod 755 /usr/local/bin/sudo");
    Some(machine)
}

fn property(machine: &Machine, name: &str) -> String {
    machine.ok(&format!("systemctl show pearlbed --property {name} --value"))
}

/// Gives the service a configuration of its own making, without `init`.
fn configure(machine: &Machine, text: &str) {
    let script = format!(
        "umask 077; cat >/var/lib/pearlbed/config.toml <<'END'\n{text}\nEND\n\
         chown pearlbed: /var/lib/pearlbed/config.toml"
    );
    machine.ok(&script);
}

/// Makes the user alice, who has a service manager of her own, and answers how a script is run as her.
fn alice_lingers(machine: &Machine) -> impl Fn(&str) -> String {
    machine.ok("useradd --create-home alice && loginctl enable-linger alice");
    machine.wait_for("test -S /run/user/$(id -u alice)/bus", "loginctl; systemctl status user@*");
    |script| {
        format!(
            "runuser -u alice -- env HOME=/home/alice XDG_RUNTIME_DIR=/run/user/$(id -u alice) \
             sh -c \"set -e; cd /srv; $(cat <<'END'\n{script}\nEND\n)\""
        )
    }
}

/// Mining on the devnet with one thread: these machines share their processor.
const DEVNET: &str =
    "[mining]\nprovider = \"cpu-pearl\"\nsubmit_target = \"devnet\"\n[mining.extra]\nthreads = 1";

fn wait_until_it_earns(machine: &Machine) {
    machine.wait_for("pearlbed --home /var/lib/pearlbed status", STORY);
}

#[test]
fn a_service_without_a_configuration_fails_once_and_says_what_sets_it_up() {
    let Some(machine) = machine() else { return };
    assert_eq!(
        machine.sh("systemctl is-enabled pearlbed").stdout.trim(),
        "disabled",
        "nothing starts by itself"
    );
    for (wrong, said) in [
        (None, "pearlbed --home /var/lib/pearlbed init"),
        (Some("[mining]\nwalet_address = \"x\""), "did you mean `wallet_address`?"),
        (Some("[mining"), "config.toml line 1 is not TOML"),
        (Some("[mining]\nsubmit_target = \"devnet\"\nprovider = \"nobody\""), "the provider `nobody`"),
    ] {
        if let Some(text) = wrong {
            configure(&machine, text);
        }
        assert_ne!(machine.sh("systemctl start pearlbed").code, 0, "{said}");
        let facts = ["ActiveState", "ExecMainStatus", "NRestarts"].map(|name| property(&machine, name));
        assert_eq!(facts, ["failed", "6", "0"], "{:?}", machine.sh(STORY));
        // At the priority of errors, and without a time of its own.
        let errors = machine.ok("journalctl -u pearlbed -p err -o cat --no-pager -n 20");
        assert!(errors.contains(said) && errors.lines().any(|line| line.starts_with("error: ")), "{errors}");
    }
}

#[test]
fn the_guides_lines_give_a_mining_service_typed_as_they_stand() {
    let Some(machine) = machine() else { return };
    let guide = std::fs::read_to_string(build::workspace().join("docs/user-guide.md")).unwrap();
    let (_, lines) = guide.split_once("These three lines give a service").expect("the guide has them");
    let (_, lines) = lines.split_once("```sh\n").expect("they are in a block");
    let lines: Vec<&str> = lines.split("```").next().unwrap_or_default().lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    machine.ok(lines[0]);
    machine.ok(lines[1]);
    machine.wait_for(lines[2], STORY);
    assert_eq!(machine.ok("systemctl is-enabled pearlbed"), "enabled");
    assert_eq!(property(&machine, "StatusText"), "mining with cpu-pearl");
    // What the next lines of the guide do, too.
    machine.ok("sudo install -D -m 0600 /dev/null /etc/pearlbed/environment");
    machine.ok("echo PEARLD_RPC_PASSWORD=hunter2 >/etc/pearlbed/environment; systemctl restart pearlbed");
    let environment = "tr '\\0' '\\n' </proc/$(systemctl show pearlbed -P MainPID)/environ";
    assert!(machine.ok(environment).contains("PEARLD_RPC_PASSWORD=hunter2"));
}

#[test]
fn a_configuration_that_root_makes_or_changes_after_the_first_start_is_used() {
    let Some(machine) = machine() else { return };
    assert_ne!(machine.sh("systemctl start pearlbed").code, 0);
    // What root starts by hand leaves the service its home.
    machine.ok("rm -r /var/lib/pearlbed/*; pearlbed --home /var/lib/pearlbed start --devnet --wait 200");
    // A busy machine has no time for a probe now and then, and then another step is the next one.
    let next = "pearlbed --home /var/lib/pearlbed status";
    machine.wait_for(
        &format!("pearlbed --home /var/lib/pearlbed doctor --probe-timeout 60s | tail -2 | grep -F '{next}'"),
        STORY,
    );
    assert_eq!(machine.sh("pearlbed --home /var/lib/pearlbed start --foreground --devnet").code, 1);
    machine.ok("pearlbed --home /var/lib/pearlbed stop");
    assert_eq!(machine.ok("find /var/lib/pearlbed ! -user pearlbed"), "");
    let init = "pearlbed --home /var/lib/pearlbed init --yes";
    machine.ok(&format!("{init} --provider cpu-pearl --submit-target devnet"));
    machine.ok(&format!("{init} --set mining.session.stop_grace=20s"));
    let files = machine.ok("stat -c '%U %a %n' /var/lib/pearlbed/config.toml*");
    assert!(files.lines().all(|file| file.starts_with("pearlbed 600 ")), "{files}");
    machine.ok("systemctl start pearlbed");
    wait_until_it_earns(&machine);
    machine.ok(&format!("{init} --set mining.session.stop_grace=21s"));
    machine.ok("systemctl reload pearlbed");
    machine.wait_for("journalctl -u pearlbed | grep 'in force now: mining.session.stop_grace'", STORY);
}

#[test]
fn the_service_is_ready_without_its_gateway_reloads_restarts_and_stops_in_order() {
    let Some(machine) = machine() else { return };
    configure(
        &machine,
        &format!(
            "[mining]\nprovider = \"cpu-pearl\"\nwallet_address = \"{WALLET}\"\n[mining.gateway]\nsocket = \"/run/pearlbed/gateway.sock\""
        ),
    );
    machine.ok("systemctl start pearlbed");
    machine.wait_for("systemctl show pearlbed -P StatusText | grep /run/pearlbed/gateway.sock", STORY);
    // What is waited for is a warning, and nothing else of the session is.
    machine.wait_for("journalctl -u pearlbed -p warning -o cat | grep 'gateway: not connected'", STORY);
    machine.ok("systemctl stop pearlbed");
    assert_eq!(property(&machine, "Result"), "success");

    configure(&machine, DEVNET);
    machine.ok("mkdir -p /run/systemd/system/pearlbed.service.d; \
        printf '[Service]\\nRestartSec=100ms\\nWatchdogSec=5\\n' >/run/systemd/system/pearlbed.service.d/soon.conf; \
        systemctl daemon-reload; systemctl start pearlbed");
    wait_until_it_earns(&machine);
    let marked = "journalctl -u pearlbed -o cat -p info --since '-1 hour' | grep 'took its first job'";
    let line = machine.ok(marked);
    assert!(line.starts_with("supervisor"), "the journal has the time already: {line}");

    // systemd hears that it is awake, again and again.
    let heard = "systemctl show pearlbed -P WatchdogTimestampMonotonic";
    let before = machine.ok(heard);
    machine.wait_for(&format!("test $({heard}) != {before}"), STORY);

    configure(&machine, &format!("{DEVNET}\n[mining.session]\nstop_grace = \"9s\""));
    machine.ok("systemctl reload pearlbed");
    configure(&machine, &format!("{DEVNET}\n[mining.session]\nstop_grce = \"9s\""));
    assert_ne!(machine.sh("systemctl reload pearlbed").code, 0, "a reload that changed nothing says so");
    assert_eq!(property(&machine, "ActiveState"), "active");
    configure(&machine, DEVNET);

    // What trying again may help is tried again.
    machine.ok("kill -KILL $(systemctl show pearlbed -P MainPID)");
    machine.wait_for(
        "systemctl show pearlbed -P NRestarts | grep -v '^0$' && systemctl is-active pearlbed",
        STORY,
    );
    wait_until_it_earns(&machine);

    machine.ok("journalctl --rotate; journalctl --vacuum-time=1s; systemctl stop pearlbed");
    assert_eq!(property(&machine, "Result"), "success");
    assert_eq!(property(&machine, "ExecMainStatus"), "0");
    let told = machine.ok("journalctl -u pearlbed -o cat");
    assert!(told.contains("session ends: told to end (SIGTERM)"), "{told}");
    assert_eq!(machine.sh("journalctl -u pearlbed -q -o cat -p warning -g supervisor").stdout, "", "{told}");
}

#[test]
fn a_gateway_of_another_user_is_reached_by_its_socket_in_run_pearlbed() {
    let Some(machine) = machine() else { return };
    machine.ok("useradd --create-home alice && usermod -aG pearlbed alice");
    assert_eq!(machine.ok("stat -c '%U %G %a' /run/pearlbed"), "root pearlbed 2770");
    // The devnet stands in for pearl-gateway; that one obeys the umask that the guide gives it.
    machine.ok("runuser -u alice -- sh -c 'umask 0007; pearlbed --home /home/alice/devnet devnet \
        --socket /run/pearlbed/gateway.sock >/dev/null 2>&1 &'");
    machine.wait_for(
        "test -S /run/pearlbed/gateway.sock && chmod 0660 /run/pearlbed/gateway.sock",
        "ls -l /run/pearlbed",
    );
    configure(
        &machine,
        &format!(
            "[mining]\nprovider = \"cpu-pearl\"\nwallet_address = \"{WALLET}\"\n[mining.extra]\nthreads = 1\n\
             [mining.gateway]\nsocket = \"/run/pearlbed/gateway.sock\""
        ),
    );
    machine.ok("systemctl start pearlbed");
    machine.wait_for("journalctl -u pearlbed -o cat | grep 'took its first job'", STORY);

    // A person who may not look is told the command of somebody who may, and that one works.
    let said = machine.sh("runuser -u alice -- pearlbed --home /var/lib/pearlbed status");
    let said = said.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("`sudo -u pearlbed pearlbed --home /var/lib/pearlbed status`"), "{said}");
    let told = machine.sh("runuser -u pearlbed -- pearlbed --home /var/lib/pearlbed status").stdout;
    assert!(told.starts_with("RUNNING") || told.starts_with("STARTING"), "{told}");
    // Killed without a word: the machine has not gone down, whatever boot a service sees.
    machine.ok("mkdir -p /run/systemd/system/pearlbed.service.d; \
        printf '[Service]\\nRestart=no\\n' >/run/systemd/system/pearlbed.service.d/no.conf; \
        systemctl daemon-reload; systemctl kill -s KILL pearlbed");
    machine.wait_for("systemctl is-failed pearlbed", STORY);
    let told = machine.sh("pearlbed --home /var/lib/pearlbed status").stdout;
    assert!(told.contains("ended without a word"), "{told}");
}

#[test]
fn the_units_are_without_fault_no_less_closed_than_they_were_and_that_of_users_mines() {
    let Some(machine) = machine() else { return };
    let unit = "/usr/lib/systemd/system/pearlbed.service";
    let verified = machine.sh(&format!("systemd-analyze verify --man=no {unit}"));
    assert_eq!((verified.code, verified.stderr.as_str()), (0, ""), "{verified:?}");
    let user =
        "XDG_RUNTIME_DIR=/run systemd-analyze --user --man=no verify /usr/lib/systemd/user/pearlbed.service";
    let verified = machine.sh(user);
    assert_eq!((verified.code, verified.stderr.as_str()), (0, ""), "{verified:?}");
    let said = machine.sh(&format!("systemd-analyze security --offline=yes --no-pager {unit}")).stdout;
    let level = said.lines().last().and_then(|line| line.split(": ").nth(1)?.split(' ').next()?.parse().ok());
    assert!(level.is_some_and(|level: f64| level <= EXPOSURE_MAX), "{said}");

    // The package's unit for users, under a manager of a user's own.
    let alice = alice_lingers(&machine);
    let unit = machine.ok(&alice("systemctl --user show pearlbed -P FragmentPath"));
    assert_eq!(unit, "/usr/lib/systemd/user/pearlbed.service");
    assert_ne!(machine.sh(&alice("systemctl --user start pearlbed")).code, 0, "nothing is set up");
    let shows = |name: &str| machine.ok(&alice(&format!("systemctl --user show pearlbed -P {name}")));
    assert_eq!([shows("ExecMainStatus"), shows("NRestarts")], ["6", "0"]);
    machine.ok(&alice(
        "pearlbed init --provider cpu-pearl --submit-target devnet --set mining.extra.threads=1 --yes",
    ));
    machine.ok(&alice("systemctl --user enable --now pearlbed"));
    machine.wait_for(&alice("pearlbed status"), &alice("systemctl --user status pearlbed"));
    machine.ok(&alice("systemctl --user reload pearlbed && pearlbed stop"));
    machine.wait_for(
        &alice("! systemctl --user is-active pearlbed"),
        &alice("systemctl --user status pearlbed"),
    );
    assert_eq!([shows("Result"), shows("NRestarts")], ["success", "0"], "who is asked to stop stays so");

    // A session that the command of a service leaves behind is ended by systemd, which is told before and afterwards.
    let run = "systemd-run --user --wait --pipe --quiet pearlbed start --wait 200";
    let said = machine.sh(&alice(run));
    let warned = said.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.code == 0 && warned.contains("`pearlbed start --foreground`"), "{said:?}");
    let told = alice("pearlbed status --json | grep -F 'systemd ends a session'");
    machine.wait_for(&told, &alice("pearlbed status"));
}

#[test]
fn an_upgrade_leaves_what_mines_alone_and_removal_ends_it_in_order() {
    let Some(machine) = machine() else { return };
    configure(&machine, DEVNET);
    machine.ok("systemctl start pearlbed");
    wait_until_it_earns(&machine);
    machine.ok("useradd --create-home alice");
    machine.ok("runuser -u alice -- pearlbed --home /home/alice/bed start --devnet --wait 200");
    let supervisors = "pgrep -f '[_]_supervise|start --foregroun[d]' | sort | tr '\\n' ' '";
    let before = machine.ok(supervisors);
    assert_eq!(before.split(' ').count(), 2, "{before}");

    let said = machine.ok("dpkg --install /srv/pearlbed.deb");
    assert!(said.contains("systemctl restart pearlbed"), "{said}");
    assert_eq!(machine.ok(supervisors), before, "an upgrade ends nothing");
    machine.ok("runuser -u alice -- pearlbed --home /home/alice/bed status");

    machine.ok("dpkg --remove pearlbed");
    assert_eq!(machine.sh("pgrep -a -f '[p]earlbed|__[p]rovider'").stdout, "");
    let log = machine.ok("cat /home/alice/bed/logs/mining.log");
    assert!(log.trim_end().ends_with("session ends: told to end (SIGTERM)"), "{log}");
    let log = machine.ok("cat /var/lib/pearlbed/logs/mining.log");
    assert!(log.trim_end().ends_with("session ends: told to end (SIGTERM)"), "{log}");
    machine.ok("dpkg --purge pearlbed && test ! -e /var/lib/pearlbed && test ! -e /etc/pearlbed");
    machine.ok("test -d /home/alice/bed");
}

#[test]
fn the_archive_unpacked_below_a_prefix_has_its_units_where_systemd_finds_them() {
    let Some(machine) = machine() else { return };
    machine.ok("dpkg --purge pearlbed");
    machine.copy(&package("gz").expect("an archive is always made"), "/srv/pearlbed-1.tar.gz");
    let guide = std::fs::read_to_string(build::workspace().join("docs/user-guide.md")).unwrap();
    let (_, installing) = guide.split_once("\n## Installing\n").expect("the guide has the section");
    let blocks: Vec<&str> =
        installing.split("```sh\n").skip(1).filter_map(|block| block.split("```").next()).collect();
    let [system, user, ..] = blocks[..] else { panic!("the guide has a block for each prefix") };

    machine.ok(&format!("set -e; cd /srv\n{system}"));
    let path = machine.ok("systemctl show pearlbed -P FragmentPath");
    assert_eq!(path, "/usr/local/lib/systemd/system/pearlbed.service");
    assert_eq!(machine.ok("stat -c '%G %a' /run/pearlbed"), "pearlbed 2770");
    machine
        .ok("sudo pearlbed --home /var/lib/pearlbed init --provider cpu-pearl --submit-target devnet --yes \
        --set mining.extra.threads=1 && systemctl start pearlbed");
    wait_until_it_earns(&machine);
    machine.ok("systemctl stop pearlbed && rm -r /usr/local/bin/pearlbed /usr/local/share/systemd /usr/local/lib/pearlbed");

    let alice = alice_lingers(&machine);
    machine.ok(&alice(user));
    let unit = machine.ok(&alice("systemctl --user show pearlbed -P FragmentPath"));
    assert_eq!(unit, "/home/alice/.local/share/systemd/user/pearlbed.service");
    machine.ok(&alice("mkdir -p ~/.openjarvis"));
    machine.ok(&alice("~/.local/bin/pearlbed init --provider cpu-pearl --submit-target devnet --yes"));
    machine.ok(&alice("systemctl --user start pearlbed"));
    machine.wait_for(&alice("~/.local/bin/pearlbed status"), &alice("systemctl --user status pearlbed"));
    machine.ok(&alice("systemctl --user stop pearlbed"));
}
