//! Certificates that a user trusts for one registry, where docker and podman have them: the files `*.crt` of a directory
//! with the registry's name (docker: "Verify repository client with certificates"; containers-certs.d(5)).

use crate::oci::error::{OciError, plain};
use std::fs;
use std::path::{Path, PathBuf};
use ureq::tls::{Certificate, PemItem, parse_pem};

/// The directories that have one for each registry.
pub(super) fn directories() -> Vec<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    let of_user = ["containers/certs.d", "docker/certs.d"].map(|name| Some(config.as_ref()?.join(name)));
    let of_system = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
    of_user.into_iter().flatten().chain(of_system).collect()
}

/// The certificates for a server, which is named with its port if it has one.
///
/// # Errors
/// [`OciError::File`] for a file that cannot be read, [`OciError::Certificate`] for one that is none.
pub(super) fn of_host(directories: &[PathBuf], host: &str) -> Result<Vec<Certificate<'static>>, OciError> {
    let mut found = Vec::new();
    for directory in directories {
        let files = fs::read_dir(directory.join(host)).into_iter().flatten().flatten();
        let mut files: Vec<_> = files.map(|entry| entry.path()).collect();
        files.sort();
        for path in files.iter().filter(|path| path.extension().is_some_and(|end| end == "crt")) {
            found.extend(read(path)?);
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<Certificate<'static>>, OciError> {
    let pem = fs::read(path).map_err(|error| OciError::File { path: path.to_path_buf(), error })?;
    let bad = |problem: String| OciError::Certificate { path: path.to_path_buf(), problem: plain(&problem) };
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| bad(error.to_string()))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(bad("no certificate in PEM form".to_string()));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_certificates_of_the_host_count() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (directory.path().join("r:5000"), directory.path().join("other"));
        for place in [&one, &other] {
            fs::create_dir(place).unwrap();
            fs::write(place.join("client.key"), "key").unwrap();
        }
        let pem = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        fs::write(one.join("ca.crt"), pem.repeat(2)).unwrap();
        let directories = [PathBuf::from("/no/such"), directory.path().to_path_buf()];
        let count =
            |host| of_host(&directories, host).map(|found| found.len()).map_err(|error| error.to_string());
        assert_eq!((count("r:5000"), count("r"), count("other")), (Ok(2), Ok(0), Ok(0)));
        fs::write(other.join("ca.crt"), "nonsense").unwrap();
        assert!(count("other").unwrap_err().ends_with("other/ca.crt: no certificate in PEM form"));
    }
}
