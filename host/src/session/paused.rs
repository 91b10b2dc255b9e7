//! Which miners rest also in later sessions: `runtime/paused.json`, a list of names.
//!
//! A file that cannot be read counts as none: that a miner mines is the rule.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use crate::home::Home;

/// The names.
#[derive(Debug)]
pub struct Paused {
    file: PathBuf,
    names: BTreeSet<String>,
}

impl Paused {
    /// Those of `home`.
    pub fn read(home: &Home) -> Self {
        let file = home.runtime_dir().join("paused.json");
        let names = crate::owned::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { file, names: names.unwrap_or_default() }
    }

    /// Whether `name` rests.
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// From here on the miners called `names` rest in every session, or do not.
    ///
    /// # Errors
    ///
    /// Where the file cannot be written; nothing has changed then.
    pub fn set<'a>(&mut self, names: impl Iterator<Item = &'a str>, paused: bool) -> io::Result<()> {
        let mut new = self.names.clone();
        for name in names {
            if paused {
                new.insert(name.to_owned());
            } else {
                new.remove(name);
            }
        }
        if new == self.names {
            return Ok(());
        }
        match new.is_empty() {
            true => std::fs::remove_file(&self.file)?,
            false => {
                let json = serde_json::to_vec(&new).expect("names are text");
                crate::owned::replace(&self.file, &json)?;
            }
        }
        self.names = new;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_rests_is_remembered_until_told_otherwise_and_rubbish_is_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        std::fs::create_dir(home.runtime_dir()).unwrap();
        let mut paused = Paused::read(&home);
        paused.set(["a", "b"].into_iter(), true).unwrap();
        assert!(Paused::read(&home).contains("a") && !Paused::read(&home).contains("c"));
        paused.set(["a", "c"].into_iter(), false).unwrap();
        assert!(!Paused::read(&home).contains("a") && Paused::read(&home).contains("b"));
        paused.set(["b"].into_iter(), false).unwrap();
        assert!(!home.runtime_dir().join("paused.json").exists());
        std::fs::write(home.runtime_dir().join("paused.json"), "{").unwrap();
        assert!(!Paused::read(&home).contains("b"));
    }
}
