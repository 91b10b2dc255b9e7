//! `config.toml`: whether it can be read, who is paid, where the passwords are.

use super::super::{Facts, Verdict};
use super::unreadable_configuration;
use std::path::Path;

use crate::config::{GatewayEndpoint, MiningSection, SubmitTarget};
use crate::explain::Explain;
use crate::home::{Home, HomeOrigin, Openjarvis, resolved};
use crate::text::{printable, printable_path};
use crate::work::pools;

pub fn file(facts: &Facts) -> Vec<Verdict> {
    let path = facts.home().config_file();
    vec![match facts.config() {
        Ok(config) if config.configured => {
            let provider = match &config.mining.provider {
                Some(provider) => format!("provider `{}`", printable(provider)),
                None => "any provider that works here".into(),
            };
            let target = config.mining.submit_target.to_string();
            Verdict::ok(format!("{provider}, work from {}", printable(&target)))
                .more(format!("file: {}", printable_path(&path)))
        }
        Ok(_) => Verdict::skip("nothing is configured yet", "run `pearlbed init`")
            .more(format!("file: {}", printable_path(&path))),
        Err(err) => {
            let fix = err.hint().unwrap_or_else(|| format!("put {} right", printable_path(&path)));
            let mut finding = err.to_string();
            if let Some(cause) = std::error::Error::source(err) {
                finding.push_str(&format!(": {cause}"));
            }
            Verdict::fail(printable(&finding), printable(&fix))
        }
    }]
}

pub fn work_source(facts: &Facts) -> Vec<Verdict> {
    let Ok(config) = facts.config() else { return unreadable_configuration() };
    vec![match &config.mining.submit_target {
        _ if !config.configured => Verdict::skip("nothing is configured yet", "run `pearlbed init`").quiet(),
        SubmitTarget::Devnet => Verdict::ok("the test network inside this machine").quiet(),
        SubmitTarget::Solo => {
            let unseen = unseen_by_a_service(&config.mining).filter(|_| facts.home().is_a_services());
            match unseen {
                Some((finding, fix)) => Verdict::warn(printable(&finding), fix),
                None => Verdict::ok(format!("pearl-gateway at {}", config.mining.gateway.endpoint)).quiet(),
            }
        }
        SubmitTarget::Pool(url) => return pools_in_use(&config.mining, url),
    }]
}

/// What a service cannot see of what is configured, and what to do: it has a `/tmp` of its own, and nobody's home.
fn unseen_by_a_service(mining: &MiningSection) -> Option<(String, &'static str)> {
    let hidden =
        |path: &Path| ["/tmp", "/var/tmp", "/home", "/root"].iter().any(|folder| path.starts_with(folder));
    if let GatewayEndpoint::Unix(path) = &mining.gateway.endpoint
        && hidden(path)
    {
        return Some((
            format!("this home is a service's, which does not see the gateway's socket {}", path.display()),
            "reach the gateway over TCP, or by a socket in /run/pearlbed (docs/user-guide.md, under systemd)",
        ));
    }
    let certificate = mining.node.as_ref().and_then(|node| node.certificate.as_deref());
    let certificate = certificate.filter(|path| hidden(path))?;
    Some((
        format!(
            "this home is a service's, which does not see the node's certificate {}",
            certificate.display()
        ),
        "copy it to /etc/pearlbed, and name that in [mining.node] certificate",
    ))
}

fn pools_in_use(mining: &MiningSection, url: &str) -> Vec<Verdict> {
    let pools = match pools(mining, url) {
        Ok(pools) => pools,
        Err(err) => {
            return vec![Verdict::fail(
                printable(&err.to_string()),
                printable(&err.hint().unwrap_or_default()),
            )];
        }
    };
    let rows = pools.iter().enumerate().map(|(at, pool)| {
        let name = if at == 0 { "pool" } else { "backup pool" };
        let address = printable(&pool.address).into_owned();
        if let Some(warning) = pool.profile.warning(pool.url.port) {
            return Verdict::warn(format!("{name} {address}"), warning).of(address.clone());
        }
        let tls = pool.profile.tls.first().filter(|_| !pool.url.tls);
        match (pool.url.tls, tls) {
            (true, _) => Verdict::ok(format!("{name} {address}, TLS")).quiet(),
            (false, Some(port)) => Verdict::warn(
                format!("{name} {address} is plain, unauthenticated: whoever is on the way can be paid in your place"),
                format!("it speaks TLS, too: stratum+ssl://{}:{port}", pool.url.host),
            )
            .of(address),
            (false, None) => Verdict::ok(format!("{name} {address}, plain, unauthenticated")),
        }
    });
    rows.collect()
}

pub fn wallet(facts: &Facts) -> Vec<Verdict> {
    let Ok(config) = facts.config() else { return unreadable_configuration() };
    let mining = &config.mining;
    vec![match (&mining.wallet_address, &mining.submit_target) {
        _ if !config.configured => Verdict::skip("nothing is configured yet", "run `pearlbed init`").quiet(),
        // Who is paid was said to it when it was started, by somebody else.
        (Some(address), SubmitTarget::Solo) if mining.gateway.command.is_none() => Verdict::ok(format!(
            "paid is whom your pearl-gateway was started for, which should be {}",
            printable(address)
        )),
        (Some(address), _) => Verdict::ok(format!("{} is paid", printable(address))),
        (None, SubmitTarget::Devnet) => Verdict::ok("the built-in test network pays nobody"),
        (None, _) => match mining.require_wallet() {
            Ok(_) => Verdict::ok("set"),
            Err(err) => {
                Verdict::fail(err.to_string(), err.hint().unwrap_or_else(|| "run `pearlbed init`".into()))
            }
        },
    }]
}

/// Whether the environment sends OpenJarvis to another file or folder than us.
pub fn shared(facts: &Facts) -> Vec<Verdict> {
    let (home, env) = (facts.home(), &facts.scope().env);
    let theirs = match Openjarvis::find(env) {
        Ok(theirs) => theirs,
        Err((variable, value)) => {
            let what = format!(
                "OpenJarvis cannot use ${variable}: there is no user as in `{}`",
                printable_path(&value)
            );
            return vec![Verdict::warn(what, format!("write the whole path in {variable}"))];
        }
    };
    vec![apart(home, &theirs, env.var_os("OPENJARVIS_CONFIG").is_some())]
}

/// What is to be said of a home and a configuration of OpenJarvis', and ours.
fn apart(home: &Home, theirs: &Openjarvis, named: bool) -> Verdict {
    let ours = Openjarvis { home: resolved(home.root()), config: resolved(&home.config_file()) };
    if ours == *theirs {
        return Verdict::ok("one home for both").quiet();
    }
    let [their_home, our_home] = [&theirs.home, &ours.home].map(|path| printable_path(path));
    if ours.config != theirs.config && (ours.home == theirs.home || named) {
        let what = format!(
            "OpenJarvis reads {} ($OPENJARVIS_CONFIG), pearlbed {}",
            printable_path(&theirs.config),
            printable_path(&home.config_file())
        );
        return Verdict::warn(
            what,
            "unset it, and set OPENJARVIS_HOME to the folder that holds config.toml for both",
        );
    }
    match home.origin() {
        // Somebody wanted it so; who has no OpenJarvis need not hear of it.
        HomeOrigin::Flag | HomeOrigin::PearlbedHome => {
            let what = format!(
                "OpenJarvis' home is {their_home}, pearlbed's {our_home}, as {} says",
                home.origin().describe()
            );
            let verdict = Verdict::ok(what);
            if theirs.home.exists() { verdict } else { verdict.quiet() }
        }
        _ => Verdict::warn(
            format!(
                "OpenJarvis' home is {their_home}, pearlbed's {our_home}: $XDG_DATA_HOME is relative, which pearlbed passes over"
            ),
            "set it to an absolute path, or set OPENJARVIS_HOME for both",
        ),
    }
}

pub fn secrets(facts: &Facts) -> Vec<Verdict> {
    let Ok(config) = facts.config() else { return unreadable_configuration() };
    let mining = &config.mining;
    let mut named = vec![];
    if let (SubmitTarget::Solo, Some(node)) = (&mining.submit_target, &mining.node) {
        named.push((&node.password_env, "the node's password"));
    }
    if let SubmitTarget::Pool(_) = &mining.submit_target {
        let backups = mining.pool.backups.iter().map(|backup| &backup.manner);
        let manners = std::iter::once(&mining.pool.manner).chain(backups);
        for variable in manners.filter_map(|manner| manner.password_env.as_ref()) {
            named.push((variable, "the pool's password"));
        }
    }
    if named.is_empty() {
        return vec![Verdict::ok("none needed").quiet()];
    }
    let verdicts = named.into_iter().map(|(variable, holds)| {
        let variable = printable(variable);
        match facts.scope().env.var_os(&variable) {
            Some(_) => Verdict::ok(format!("{holds} is in ${variable}")),
            None => Verdict::fail(
                format!("{holds} should be in ${variable}, which is not set"),
                format!(
                    "set it where mining is started: `export {variable}=…`, or in the service's environment"
                ),
            ),
        }
        .of(variable)
    });
    verdicts.collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::State;
    use super::*;
    use crate::home::Env;

    #[test]
    fn it_is_said_whenever_openjarvis_is_sent_to_another_home_or_file_and_never_otherwise() {
        let check = super::super::CHECKS.iter().find(|check| check.id == "openjarvis").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        let link = real.join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let [user, link] = [&real, &link].map(|path| path.to_str().unwrap().to_owned());
        let said = |variables: &[(&str, &str)]| {
            let all = variables.iter().copied().chain([("HOME", &*user)]);
            let env = Env::of(all);
            let home = Home::find(None, &env).unwrap();
            let theirs = Openjarvis::find(&env).unwrap();
            let verdict = apart(&home, &theirs, env.var_os("OPENJARVIS_CONFIG").is_some());
            let row = verdict.into_row(check, std::time::Duration::ZERO);
            (row.state, row.finding)
        };
        let same = (State::Ok, "one home for both".to_owned());
        assert_eq!(said(&[]), same);
        for variables in [
            vec![("OPENJARVIS_HOME", "~")],
            vec![("OPENJARVIS_HOME", "~/a/../b")],
            vec![("XDG_DATA_HOME", "~/data")],
            vec![("OPENJARVIS_HOME", &*link)],
            vec![("PEARLBED_HOME", &*link), ("OPENJARVIS_HOME", &*user)],
            vec![("OPENJARVIS_CONFIG", "~/.openjarvis/config.toml")],
            vec![("OPENJARVIS_HOME", &*link), ("OPENJARVIS_CONFIG", "~/config.toml")],
        ] {
            assert_eq!(said(&variables), same, "{variables:?}");
        }
        for (variables, state, words) in [
            (vec![("OPENJARVIS_CONFIG", "~/x.toml")], State::Warn, "/x.toml ($OPENJARVIS_CONFIG), pearlbed "),
            (vec![("XDG_DATA_HOME", "rel")], State::Warn, "/rel/openjarvis, pearlbed's "),
            (vec![("PEARLBED_HOME", "~/p")], State::Ok, "/.openjarvis, pearlbed's "),
            (
                vec![("PEARLBED_HOME", "~/p"), ("XDG_DATA_HOME", "rel")],
                State::Ok,
                "/rel/openjarvis, pearlbed's ",
            ),
            (vec![("PEARLBED_HOME", "~/p"), ("OPENJARVIS_HOME", "~/o")], State::Ok, "/o, pearlbed's "),
        ] {
            let (found, finding) = said(&variables);
            assert!(found == state && finding.contains(words), "{variables:?}: {found:?} {finding}");
        }
    }
}
