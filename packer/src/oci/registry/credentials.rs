//! The user's credentials for a registry, from the files and credential helpers of podman and docker.

use super::hub;
use crate::oci::error::{OciError, plain};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use docker_credential::{CredentialRetrievalError as Failure, DockerCredential, get_credential_from_reader};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What a user shows to a registry.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    /// A name and a password.
    Password {
        /// The user's name.
        user: String,
        /// The password.
        password: String,
    },
    /// A token that a token server exchanges for others.
    Identity(String),
}

impl Credentials {
    /// The value of an `Authorization` header (RFC 7617); none for a token.
    pub(super) fn basic(&self) -> Option<String> {
        match self {
            Credentials::Password { user, password } => {
                Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
            }
            Credentials::Identity(_) => None,
        }
    }
}

/// The files that credentials may be in, in the order in which they are asked: podman's (containers-auth.json(5)), then
/// docker's `config.json`, which have the same form.
pub(super) fn files() -> Vec<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("HOME");
    let own = set("REGISTRY_AUTH_FILE");
    let runtime = set("XDG_RUNTIME_DIR").map(|directory| directory.join("containers/auth.json"));
    let config = set("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
    let config = config.map(|directory| directory.join("containers/auth.json"));
    let docker = set("DOCKER_CONFIG").or_else(|| Some(home.as_ref()?.join(".docker")));
    let docker = docker.map(|directory| directory.join("config.json"));
    [own, runtime, config, docker].into_iter().flatten().collect()
}

/// The credentials for `registry` in the first of `files` that has any; `None` if there are none.
///
/// # Errors
/// [`OciError::Credentials`] if a file, or a helper, does not work.
pub(super) fn find(files: &[PathBuf], registry: &str) -> Result<Option<Credentials>, OciError> {
    files.iter().find_map(|path| find_in(path, registry).transpose()).transpose()
}

fn find_in(path: &Path, registry: &str) -> Result<Option<Credentials>, OciError> {
    let path = path.to_path_buf();
    let config = match fs::read(&path) {
        Ok(config) => config,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OciError::File { path, error }),
    };
    let failed =
        |problem: &str| Err(OciError::Credentials { path: path.clone(), problem: problem.to_string() });
    for name in hub::credential_names(registry) {
        return match get_credential_from_reader(&config[..], &name) {
            Ok(DockerCredential::UsernamePassword(user, password)) => {
                Ok(Some(Credentials::Password { user, password }))
            }
            Ok(DockerCredential::IdentityToken(token)) => Ok(Some(Credentials::Identity(token))),
            Err(Failure::NoCredentialConfigured) => continue,
            // docker-credential-helpers, credentials/error.go: what a helper says that has none.
            Err(Failure::HelperFailure { stdout, stderr, .. })
                if stdout.contains("credentials not found") || stderr.contains("credentials not found") =>
            {
                continue;
            }
            Err(Failure::HelperFailure { helper, stdout, stderr }) => {
                let said = if stderr.trim().is_empty() { stdout } else { stderr };
                failed(&format!("{helper}: {}", plain(&said)))
            }
            Err(Failure::HelperCommunicationError) => failed("its credential helper cannot be run"),
            Err(Failure::MalformedHelperResponse) => failed("its credential helper's answer is malformed"),
            Err(Failure::CredentialDecodingError) => {
                failed(&format!("the credentials for {name} are malformed"))
            }
            Err(Failure::CredentialMismatchError) => {
                failed(&format!("the credentials for {name} contradict each other"))
            }
            Err(Failure::ConfigReadError | Failure::ConfigNotFound) => failed("not a file of credentials"),
        };
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// What is found in a configuration: `user:password`, `token`, `-` or the error.
    fn found(config: &str, registry: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("config.json"), config).unwrap();
        match find(&[directory.path().join("config.json")], registry) {
            Ok(Some(Credentials::Password { user, password })) => format!("{user}:{password}"),
            Ok(Some(Credentials::Identity(token))) => token,
            Ok(None) => "-".to_string(),
            Err(error) => error.to_string().replace(&format!("{}/", directory.path().display()), ""),
        }
    }

    #[test]
    fn credentials_are_found_as_docker_files_them() {
        let auth = STANDARD.encode("u:p:q");
        let at = |name: &str| format!(r#"{{"auths": {{"{name}": {{"auth": "{auth}"}}}}}}"#);
        for (config, registry, expected) in [
            (at("localhost:5000"), "localhost:5000", "u:p:q"),
            (at("https://r.example"), "r.example", "u:p:q"),
            (at("https://r.example/v1/"), "r.example", "u:p:q"),
            (at("https://index.docker.io/v1/"), "docker.io", "u:p:q"),
            (at("https://index.docker.io/v1/"), "r.example", "-"),
            (r#"{"auths": {"r": {"identitytoken": "t"}}}"#.to_string(), "r", "t"),
            (r#"{"auths": {"r": {}}}"#.to_string(), "r", "-"),
            (r#"{"auths": {"r": {"username": "u", "password": "p"}}}"#.to_string(), "r", "u:p"),
            ("{}".to_string(), "r", "-"),
            (
                r#"{"auths": {"r": {"auth": "!"}}}"#.to_string(),
                "r",
                "config.json: the credentials for r are malformed",
            ),
            ("nonsense".to_string(), "r", "config.json: not a file of credentials"),
            (
                r#"{"credsStore": "no-such-helper"}"#.to_string(),
                "r",
                "config.json: its credential helper cannot be run",
            ),
        ] {
            assert_eq!(found(&config, registry), expected, "{config}");
        }
        assert!(find(&[PathBuf::from("/no/such")], "r").unwrap().is_none());
    }

    #[test]
    fn the_first_file_that_has_any_counts() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, registry: &str| {
            let path = directory.path().join(name);
            let auth = STANDARD.encode(format!("{name}:p"));
            fs::write(&path, format!(r#"{{"auths": {{"{registry}": {{"auth": "{auth}"}}}}}}"#)).unwrap();
            path
        };
        let files = [directory.path().join("none"), file("a", "r"), file("b", "r"), file("c", "s")];
        let user = |registry| match find(&files, registry).unwrap() {
            Some(Credentials::Password { user, .. }) => user,
            _ => "-".to_string(),
        };
        assert_eq!(["r", "s", "t"].map(user), ["a", "c", "-"]);
    }

    /// Helpers are found in PATH, so this runs in a process of its own.
    #[test]
    fn helpers_are_run_as_docker_runs_them() {
        const CHILD: &str = "C2W_TEST_WITH_HELPER";
        if std::env::var_os(CHILD).is_none() {
            let directory = tempfile::tempdir().unwrap();
            let helper = directory.path().join("docker-credential-test");
            let script = "#!/bin/sh\nread -r server\ncase $1-$server in\n\
                get-r) echo '{\"ServerURL\": \"r\", \"Username\": \"u\", \"Secret\": \"p\"}';;\n\
                get-t) echo '{\"ServerURL\": \"t\", \"Username\": \"<token>\", \"Secret\": \"s\"}';;\n\
                get-bad) echo 'out of order' >&2; exit 1;;\n\
                *) echo 'credentials not found in native keychain'; exit 1;;\nesac\n";
            fs::write(&helper, script).unwrap();
            fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
            let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
            let status = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "oci::registry::credentials::tests::helpers_are_run_as_docker_runs_them"])
                .env(CHILD, "1")
                .env("PATH", path)
                .status()
                .unwrap();
            assert!(status.success());
            return;
        }
        let store = r#"{"credsStore": "test"}"#;
        for (config, registry, expected) in [
            (store, "r", "u:p"),
            (store, "t", "s"),
            (store, "x", "-"),
            (store, "bad", "config.json: docker-credential-test: out of order"),
            (r#"{"credHelpers": {"r": "test"}}"#, "r", "u:p"),
            (r#"{"credHelpers": {"r": "test"}}"#, "t", "-"),
        ] {
            assert_eq!(found(config, registry), expected, "{config} {registry}");
        }
    }
}
