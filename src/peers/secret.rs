//! What all nodes of a cluster know and nobody else, and the file that it is in.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What a proof takes.
pub const PROOF_BYTES: usize = 32;
/// A longer file is none of ours.
const FILE_MAX_BYTES: u64 = 4096;
/// Whoever listens at a handshake can try shorter ones at leisure.
const SAFE_BYTES: usize = 16;
/// What others than the file's owner may do with it: nothing.
const OF_OTHERS: u32 = 0o077;

/// Never shown, whoever prints it.
#[derive(Clone)]
pub struct ClusterSecret(Vec<u8>);

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl ClusterSecret {
    pub fn of(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// Reads the file, whose white space at both ends doesn't count.
    ///
    /// # Errors
    /// It can't be read, others may read it, or there is nothing in it.
    pub fn load(path: &Path) -> io::Result<Self> {
        let refused = |why: &str| io::Error::other(format!("the cluster's secret in {}: {why}", path.display()));
        let metadata = std::fs::metadata(path).map_err(|error| refused(&error.to_string()))?;
        if metadata.permissions().mode() & OF_OTHERS != 0 {
            return Err(refused("others than its owner may use the file; chmod 600 mends that"));
        }
        if metadata.len() > FILE_MAX_BYTES {
            return Err(refused("the file is too long"));
        }
        #[allow(clippy::disallowed_methods, reason = "the one file of this room")]
        let text = std::fs::read(path).map_err(|error| refused(&error.to_string()))?;
        let secret = text.trim_ascii();
        if secret.is_empty() {
            return Err(refused("the file is empty"));
        }
        if secret.len() < SAFE_BYTES {
            tracing::warn!(target: "cluster", "the cluster's secret is shorter than {SAFE_BYTES} bytes: it can be guessed");
        }
        Ok(Self::of(secret))
    }

    /// What only who knows the secret can say of all this.
    pub fn proof(&self, said: &[&[u8]]) -> [u8; PROOF_BYTES] {
        self.mac(said).finalize().into_bytes().into()
    }

    /// Whether `proof` is that; it takes as long if it is not.
    pub fn is_proof(&self, said: &[&[u8]], proof: &[u8]) -> bool {
        self.mac(said).verify_slice(proof).is_ok()
    }

    fn mac(&self, said: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("keys of any length do");
        for part in said {
            // Where one part ends is a part of what is said.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn file(name: &str, text: &str, mode: u32) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("leveret-secret-{}-{name}", std::process::id()));
        #[allow(clippy::disallowed_methods, reason = "a file of this test's")]
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn only_a_file_of_its_owners_alone_is_taken() {
        for (name, text, mode, refusal) in [
            ("good", " burrow-burrow-burrow\n", 0o600, None),
            ("read-only", "burrow-burrow-burrow", 0o400, None),
            ("group", "burrow-burrow-burrow", 0o640, Some("chmod 600")),
            ("all", "burrow-burrow-burrow", 0o604, Some("chmod 600")),
            ("empty", " \n", 0o600, Some("is empty")),
            ("long", &"x".repeat(5000), 0o600, Some("too long")),
        ] {
            let path = file(name, text, mode);
            let loaded = ClusterSecret::load(&path);
            fs::remove_file(&path).unwrap();
            match (loaded, refusal) {
                (Ok(secret), None) => assert_eq!(secret.0, b"burrow-burrow-burrow", "{name}"),
                (Err(error), Some(why)) => assert!(error.to_string().contains(why), "{name}: {error}"),
                (loaded, _) => panic!("{name}: {loaded:?}"),
            }
        }
        assert!(ClusterSecret::load(Path::new("/nowhere/secret")).is_err());
    }

    #[test]
    fn a_proof_is_of_all_that_is_said_and_of_where_it_is_divided() {
        let secret = ClusterSecret::of(b"burrow");
        let proof = secret.proof(&[b"one", b"two"]);
        assert!(secret.is_proof(&[b"one", b"two"], &proof));
        for other in [&[&b"one"[..], b"tw0"][..], &[b"onet", b"wo"], &[b"one"], &[b"two", b"one"]] {
            assert!(!secret.is_proof(other, &proof), "{other:?}");
        }
        assert!(!secret.is_proof(&[b"one", b"two"], &proof[..31]));
        assert!(!ClusterSecret::of(b"burroW").is_proof(&[b"one", b"two"], &proof));
        assert_eq!(format!("{secret:?}"), "(secret)");
    }
}
