//! Who mines where, on rigs that are made up.

use super::*;
use crate::config::{Config, Sources};
use crate::hardware::fake;
use crate::home::Env;
use crate::plugins::matrix::testing;

fn lines(text: &str) -> Vec<String> {
    let env = Env::default();
    let file = std::path::Path::new("config.toml");
    let config =
        Config::load(&Sources { file, text: Some(text), env: &env, flags: &[] }).expect("the file is right");
    let machine = fake::rig();
    let survey = testing::survey(&machine);
    let sections: Vec<_> = config.mining.miners.iter().filter(|miner| miner.enabled).collect();
    let told = |result: Result<Choice, LeftOut>| match result {
        Ok(Choice { section, chosen, devices, rivals }) => {
            let named: Vec<_> = section.devices.iter().map(ToString::to_string).collect();
            let estimate = chosen.estimate.map_or("no estimate".into(), crate::text::hashrate);
            let rivals: Vec<_> = rivals.iter().map(|rival| rival.chosen.manifest.id.clone()).collect();
            let before =
                if rivals.is_empty() { String::new() } else { format!(", before {}", rivals.join(", ")) };
            format!(
                "{} runs {} on [{}], told [{}], {estimate}{before}",
                section.name,
                chosen.manifest.id,
                named.join(", "),
                devices.join(", ")
            )
        }
        Err(LeftOut { name, why }) => format!("{name} is left out: {why}"),
    };
    assign(&sections, &survey, &machine, true).into_iter().map(told).collect()
}

#[test]
fn with_nothing_configured_each_device_gets_the_best_provider() {
    insta::assert_snapshot!("choice-of-a-rig", lines("").join("\n"));
}

#[test]
fn auto_leaves_alone_what_others_were_given() {
    let text = "[mining]\nprovider = \"auto\"\n\
                [[mining.miners]]\nprovider = \"cores\"\nextra = { threads = 2 }\n\
                [[mining.miners]]\nname = \"slow\"\nprovider = \"any-card\"\ndevices = [\"GPU-00000001-AAAA\", \"5\"]\n\
                [[mining.miners]]\nprovider = \"red\"\ndevices = [\"03:00.0\", \"04:00.0\", \"05:00.0\"]\nenabled = false\n";
    insta::assert_snapshot!("choice-beside-others", lines(text).join("\n"));
}

#[test]
fn a_miner_that_cannot_be_is_left_out_and_the_others_go_on() {
    let text = "[mining]\nprovider = \"cores\"\n\
                [[mining.miners]]\nname = \"gone\"\nprovider = \"any-card\"\ndevices = [\"0000:99:00.0\"]\n\
                [[mining.miners]]\nname = \"odd\"\nprovider = \"cores\"\ndevices = [\"0\"]\n\
                [[mining.miners]]\nname = \"unknown\"\nprovider = \"no-such\"\n\
                [[mining.miners]]\nname = \"intel\"\ndevices = [\"81:00.0\"]\n";
    insta::assert_snapshot!("choice-with-some-left-out", lines(text).join("\n"));
}
