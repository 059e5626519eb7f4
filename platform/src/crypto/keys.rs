//! The master key and what is derived from it.
//!
//! Invariant: the master key itself encrypts and signs nothing; each use has its own derived key.

use std::io::{Read as _, Write as _};
use std::path::Path;

use zeroize::Zeroize as _;

use super::{ColumnCipher, hmac_sm3, random};

/// 32 random bytes kept in a file that only the server's account may read.
pub struct MasterKey([u8; 32]);

impl Drop for MasterKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    #[error("the master key file {path} cannot be read or written: {source}")]
    File { path: String, source: std::io::Error },
    #[error(
        "the master key file {path} does not hold exactly 32 bytes; restore it from a backup, \
         because stored camera passwords cannot be read without it"
    )]
    Length { path: String },
    #[error("the master key file {path} may be read by others (mode {mode:03o}); set it to 600")]
    Open { path: String, mode: u32 },
}

impl MasterKey {
    /// Reads the key, or makes one when the file does not exist yet.
    pub fn open(path: &Path) -> Result<Self, MasterKeyError> {
        let shown = path.display().to_string();
        let failed = |source| MasterKeyError::File { path: path.display().to_string(), source };
        if !path.try_exists().map_err(failed)? {
            let key = Self(random());
            private_file(path)
                .and_then(|mut file| {
                    file.write_all(&key.0)?;
                    file.sync_all()
                })
                .map_err(failed)?;
            return Ok(key);
        }
        let file = std::fs::File::open(path).map_err(failed)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(MasterKeyError::Open { path: shown, mode });
            }
        }
        let mut bytes = Vec::new();
        file.take(33).read_to_end(&mut bytes).map_err(failed)?;
        let key = <[u8; 32]>::try_from(bytes.as_slice());
        bytes.zeroize();
        key.map(Self).map_err(|_| MasterKeyError::Length { path: shown })
    }

    /// A key that lives as long as the value.
    pub fn ephemeral() -> Self {
        Self(random())
    }

    fn derive(&self, purpose: &str) -> [u8; 32] {
        hmac_sm3(&self.0, &[b"rongtong key v1|", purpose.as_bytes()])
    }
}

/// Opens a file for writing that nobody but its owner may read; fails when it exists.
pub(crate) fn private_file(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

/// The derived keys that the server holds while it runs.
pub struct Keys {
    columns: ColumnCipher,
    audit: [u8; 32],
}

impl Keys {
    pub fn derive(master: &MasterKey) -> Self {
        let mut column = master.derive("column");
        let columns = ColumnCipher::new(&column);
        column.zeroize();
        Self { columns, audit: master.derive("audit head") }
    }

    /// The cipher for secrets in table columns.
    pub fn columns(&self) -> &ColumnCipher {
        &self.columns
    }

    /// HMAC-SM3 over the head of the audit chain.
    pub(crate) fn audit_mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        hmac_sm3(&self.audit, parts)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.audit.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_survives_a_restart_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        let first = MasterKey::open(&path).unwrap();
        let second = MasterKey::open(&path).unwrap();
        assert_eq!(first.0, second.0);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
            assert!(matches!(MasterKey::open(&path), Err(MasterKeyError::Open { mode: 0o644, .. })));
        }
    }

    #[test]
    fn a_cut_key_file_is_refused_rather_than_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        private_file(&path).unwrap().write_all(&[1; 31]).unwrap();
        assert!(matches!(MasterKey::open(&path), Err(MasterKeyError::Length { .. })));
    }

    #[test]
    fn purposes_have_different_keys() {
        let master = MasterKey::ephemeral();
        assert_ne!(master.derive("column"), master.derive("audit head"));
    }
}
