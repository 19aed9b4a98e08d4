//! Options of `c2w pack` that say how the container is run, over what its image says.

use anyhow::{Context, Result, bail};
use c2w_packer::image::{ByteString, ContainerConfig};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// Options that replace parts of an image's configuration.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct ConfigArgs {
    /// Program put before the command, as a shell would split it, or a JSON array; the image's command goes with the
    /// image's entry point.
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Default command with its arguments, as a shell would split it, or a JSON array.
    #[arg(long, value_name = "COMMAND")]
    cmd: Option<String>,
    /// Set an environment variable. May be given several times.
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<OsString>,
    /// Directory to start in.
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<OsString>,
    /// User, and group, to run as: names from the image or numbers.
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Set a label. May be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
}

impl ConfigArgs {
    /// The configuration with these options applied.
    ///
    /// # Errors
    /// One line that names the option.
    pub fn over(&self, mut config: ContainerConfig) -> Result<ContainerConfig> {
        if let Some(entrypoint) = &self.entrypoint {
            config.entrypoint = split_command("--entrypoint", entrypoint)?;
            // As docker: the command was meant for the entry point that is gone.
            config.cmd.clear();
        }
        if let Some(cmd) = &self.cmd {
            config.cmd = split_command("--cmd", cmd)?;
        }
        for entry in &self.env {
            let entry = entry.as_bytes();
            // Not at the start: a variable needs a name.
            let Some(equals) = entry.iter().position(|byte| *byte == b'=').filter(|at| *at > 0) else {
                bail!("--env {}: expected NAME=VALUE", String::from_utf8_lossy(entry));
            };
            let name = &entry[..=equals];
            config.env.retain(|old| !old.as_bytes().starts_with(name));
            config.env.push(ByteString(entry.to_vec()));
        }
        if let Some(workdir) = &self.workdir {
            if !workdir.as_bytes().starts_with(b"/") {
                bail!("--workdir {}: the directory must be an absolute path", workdir.display());
            }
            config.working_dir = ByteString(workdir.as_bytes().to_vec());
        }
        if let Some(user) = &self.user {
            config.user.clone_from(user);
        }
        for label in &self.label {
            let (name, value) =
                label.split_once('=').with_context(|| format!("--label {label}: expected NAME=VALUE"))?;
            config.labels.insert(name.to_string(), value.to_string());
        }
        Ok(config)
    }
}

/// A command line as an argument list: a JSON array of strings, else words as a POSIX shell quotes them.
///
/// # Errors
/// One line that names `option`.
pub fn split_command(option: &str, text: &str) -> Result<Vec<ByteString>> {
    let words = if text.trim_start().starts_with('[') {
        serde_json::from_str::<Vec<String>>(text)
            .with_context(|| format!("{option}: not a JSON array of strings"))?
    } else {
        shlex::split(text).with_context(|| format!("{option}: a quote is not closed"))?
    };
    Ok(words.into_iter().map(|word| ByteString(word.into_bytes())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(list: &[ByteString]) -> String {
        list.iter().map(ByteString::display).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn commands_are_words_or_json() {
        let words = |text| split_command("--cmd", text).ok().map(|list| shown(&list));
        assert_eq!(words("sh -c 'echo hi'").as_deref(), Some("sh|-c|echo hi"));
        assert_eq!(words(r#"["a b", ""]"#).as_deref(), Some("a b|"));
        assert_eq!(words("'open"), None);
        assert_eq!(words("[1]"), None);
    }

    #[test]
    fn options_go_over_the_image() {
        let image = || ContainerConfig {
            entrypoint: vec!["/e".into()],
            cmd: vec!["c".into()],
            env: vec!["PATH=/bin".into(), "A=1".into(), "AB=2".into()],
            working_dir: "/w".into(),
            user: "u".to_string(),
            ..ContainerConfig::default()
        };
        assert_eq!(ConfigArgs::default().over(image()).unwrap(), image());
        let options = ConfigArgs {
            env: vec!["A=3".into(), "N=".into()],
            workdir: Some("/x".into()),
            user: Some("0".to_string()),
            label: vec!["l=a=b".to_string()],
            ..ConfigArgs::default()
        };
        let config = options.over(image()).unwrap();
        assert_eq!(shown(&config.env), "PATH=/bin|AB=2|A=3|N=");
        assert_eq!((shown(&config.entrypoint), shown(&config.cmd)), ("/e".to_string(), "c".to_string()));
        assert_eq!((config.working_dir.display(), config.user.as_str()), ("/x".to_string(), "0"));
        assert_eq!(config.labels["l"], "a=b");
        let entrypoint = ConfigArgs { entrypoint: Some("/n x".to_string()), ..ConfigArgs::default() };
        let config = entrypoint.over(image()).unwrap();
        assert_eq!((shown(&config.entrypoint), shown(&config.cmd)), ("/n|x".to_string(), String::new()));
        for bad in [
            ConfigArgs { env: vec!["A".into()], ..ConfigArgs::default() },
            ConfigArgs { env: vec!["=1".into()], ..ConfigArgs::default() },
            ConfigArgs { env: vec!["".into()], ..ConfigArgs::default() },
            ConfigArgs { workdir: Some("x".into()), ..ConfigArgs::default() },
            ConfigArgs { label: vec!["x".to_string()], ..ConfigArgs::default() },
        ] {
            assert!(bad.over(image()).is_err(), "{bad:?}");
        }
    }
}
