//! `rongtong check-config` and `audit-verify`.

use rongtong_platform::bootstrap::Bootstrap;
use rongtong_platform::config::Config;
use std::path::Path;

type Failure = Box<dyn std::error::Error>;

pub fn config(path: Option<&Path>) -> Result<(), Failure> {
    let config = Config::load(path)?;
    println!("{}", toml::to_string_pretty(&config)?);
    eprintln!("the configuration is valid");
    Ok(())
}

pub async fn audit(path: Option<&Path>) -> Result<(), Failure> {
    let config = Config::load(path)?;
    if !config.data.dir.is_dir() {
        return Err(format!(
            "data.dir = \"{}\" is not there; name the server's configuration",
            config.data.dir.display()
        )
        .into());
    }
    let bootstrap = Bootstrap::open(&config).await?;
    let found = bootstrap.platform.audit.verify().await?;
    println!("{} rows are intact, up to hash {}", found.rows, found.head);
    match found.fault {
        None => Ok(()),
        Some(fault) => Err(format!("the audit log was tampered with: {fault}").into()),
    }
}
