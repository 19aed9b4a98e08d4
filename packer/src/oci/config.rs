//! From an image's configuration to the defaults of the container.

use super::error::OciError;
use crate::image::{ByteString, ContainerConfig};
use oci_spec::image::ImageConfiguration;

/// The parts of `config` that govern a run, and those that `c2w inspect` shows.
///
/// # Errors
/// [`OciError::Document`] for a value that no process can be started with.
pub fn container_config(image: &ImageConfiguration) -> Result<ContainerConfig, OciError> {
    let Some(config) = image.config() else { return Ok(ContainerConfig::default()) };
    let strings = |list: &Option<Vec<String>>| -> Result<Vec<ByteString>, OciError> {
        list.iter().flatten().map(|text| checked(text)).collect()
    };
    let keys = |list: &Option<Vec<String>>| {
        list.iter().flatten().map(|key| (key.clone(), Default::default())).collect()
    };
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let working_dir = match text(config.working_dir()) {
        // Docker takes it from the root directory.
        relative if !relative.is_empty() && !relative.starts_with('/') => format!("/{relative}"),
        absolute => absolute,
    };
    Ok(ContainerConfig {
        entrypoint: strings(config.entrypoint())?,
        cmd: strings(config.cmd())?,
        env: strings(config.env())?,
        working_dir: checked(&working_dir)?,
        user: String::from_utf8_lossy(checked(&text(config.user()))?.as_bytes()).into_owned(),
        stop_signal: text(config.stop_signal()),
        exposed_ports: keys(config.exposed_ports()),
        volumes: keys(config.volumes()),
        labels: config.labels().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect(),
    })
}

fn checked(text: &str) -> Result<ByteString, OciError> {
    if text.contains('\0') {
        return Err(OciError::document("image configuration", "a NUL byte in the command or environment"));
    }
    Ok(ByteString::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::parse_config;

    fn of(config: &str) -> Result<ContainerConfig, OciError> {
        let text = format!(
            r#"{{"architecture": "amd64", "os": "linux", {config}
                "rootfs": {{"type": "layers", "diff_ids": []}}}}"#
        );
        container_config(&parse_config(text.as_bytes())?)
    }

    #[test]
    fn everything_that_governs_a_run_is_taken() {
        let config = of(r#""config": {
            "Entrypoint": ["/e", "x y"], "Cmd": ["c"], "Env": ["A=1", "B"], "WorkingDir": "w/d", "User": "u:g",
            "StopSignal": "SIGINT", "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/v": {}}, "Labels": {"l": "v"},
            "Hostname": "", "Shell": ["sh"], "ArgsEscaped": true},"#)
        .unwrap();
        let text = |list: &[ByteString]| list.iter().map(ByteString::display).collect::<Vec<_>>().join("|");
        assert_eq!(text(&config.entrypoint), "/e|x y");
        assert_eq!(text(&config.cmd), "c");
        assert_eq!(text(&config.env), "A=1|B");
        assert_eq!(config.working_dir.display(), "/w/d");
        assert_eq!((config.user.as_str(), config.stop_signal.as_str()), ("u:g", "SIGINT"));
        assert!(config.exposed_ports.contains_key("80/tcp") && config.volumes.contains_key("/v"));
        assert_eq!(config.labels["l"], "v");
    }

    #[test]
    fn what_is_absent_is_empty() {
        for nothing in [
            "",
            r#""config": null,"#,
            r#""config": {},"#,
            r#""config": {"Cmd": null, "Env": null, "Volumes": null, "ExposedPorts": null, "Labels": null,
                           "Entrypoint": null, "User": "", "WorkingDir": ""},"#,
        ] {
            assert_eq!(of(nothing).unwrap(), ContainerConfig::default(), "{nothing}");
        }
    }

    #[test]
    fn what_cannot_be_started_is_refused() {
        for bad in [
            r#""config": {"Cmd": ["a\u0000b"]},"#,
            r#""config": {"Cmd": "sh"},"#,
            r#""config": {"User": "a\u0000"},"#,
            r#""config": 1,"#,
        ] {
            assert!(of(bad).unwrap_err().to_string().starts_with("malformed image configuration: "), "{bad}");
        }
    }
}
