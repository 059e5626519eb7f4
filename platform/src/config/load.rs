//! Reads the file and the environment, one key at a time.
//!
//! Each key is given to its section alone, so that serde's complaint belongs to that key and one
//! mistake does not hide the next; what passed is then read together and checked.

use std::fmt;
use std::path::Path;

use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::Config;
use super::sections::{
    Alarms, Data, Database, Gb28181, Livekit, Log, Map, Media, Recorder, Rtmp, Rtsp, Security, Server,
};

const PREFIX: &str = "RONGTONG__";

/// One thing wrong with the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// Dotted, as in `server.https_listen`; for the file itself, its path.
    pub key: String,
    /// A sentence for the operator.
    pub message: String,
}

/// Everything wrong with the configuration.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ConfigErrors(pub Vec<Mistake>);

impl ConfigErrors {
    pub(super) fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Mistake { key: key.into(), message: message.into() });
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "the configuration has {count} mistake{}:", if count == 1 { "" } else { "s" })?;
        for Mistake { key, message } in &self.0 {
            write!(f, "\n  {key}: {message}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl Config {
    /// The configuration from the file, if one is given, and the process's environment.
    ///
    /// Under systemd, `STATE_DIRECTORY` is the default of `data.dir`.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let text = match path.map(|path| (path, std::fs::read_to_string(path))) {
            None => String::new(),
            Some((_, Ok(text))) => text,
            Some((path, Err(fault))) => {
                errors.add(path.display().to_string(), format!("cannot be read: {fault}."));
                return Err(errors);
            }
        };
        let mut environment = Vec::new();
        for (name, value) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with(PREFIX) || name == "STATE_DIRECTORY" {
                match value.into_string() {
                    Ok(value) => environment.push((name, value)),
                    Err(_) => errors.add(name, "is not UTF-8 text."),
                }
            }
        }
        Self::from_parts(&text, environment, errors)
    }

    /// The configuration from a file's text and environment variables.
    pub fn parse(text: &str, environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigErrors> {
        Self::from_parts(text, environment, ConfigErrors::default())
    }

    fn from_parts(
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
        mut errors: ConfigErrors,
    ) -> Result<Self, ConfigErrors> {
        let mut good = Table::new();
        match text.parse::<Table>() {
            Ok(file) => file_keys(file, &mut good, &mut errors),
            Err(fault) => errors.add("file", format!("is not TOML: {}.", fault.to_string().trim())),
        }
        for (name, value) in environment {
            if name == "STATE_DIRECTORY" {
                let dir = value.split(':').next().unwrap_or_default().to_owned();
                section_of(&mut good, "data").entry("dir").or_insert(Value::String(dir));
            } else if let Some(path) = name.strip_prefix(PREFIX) {
                environment_key(&name, path, &value, &mut good, &mut errors);
            }
        }
        match Self::deserialize(good) {
            Ok(config) => {
                config.check(&mut errors);
                if errors.0.is_empty() { Ok(config) } else { Err(errors) }
            }
            Err(fault) => {
                errors.add("file", first_line(&fault));
                Err(errors)
            }
        }
    }
}

fn file_keys(file: Table, good: &mut Table, errors: &mut ConfigErrors) {
    for (section, value) in file {
        let Some(accepts) = section_reader(&section) else {
            errors.add(section, unknown_section());
            continue;
        };
        let Value::Table(keys) = value else {
            errors.add(&section, format!("is a section and is written [{section}]."));
            continue;
        };
        for (key, value) in keys {
            match accepts(single(&key, value.clone())) {
                Ok(()) => {
                    section_of(good, &section).insert(key, value);
                }
                Err(message) => errors.add(format!("{section}.{key}"), message),
            }
        }
    }
}

/// An environment variable is text; the key's type decides how it is read.
fn environment_key(name: &str, path: &str, text: &str, good: &mut Table, errors: &mut ConfigErrors) {
    let lower = path.to_ascii_lowercase();
    let Some((section, key)) = lower.split_once("__") else {
        errors.add(name, "must be RONGTONG__SECTION__KEY.");
        return;
    };
    let Some(accepts) = section_reader(section) else {
        errors.add(name, unknown_section());
        return;
    };
    let mut readings = vec![Value::String(text.to_owned())];
    if let Ok(mut table) = format!("v = {text}").parse::<Table>() {
        readings.extend(table.remove("v"));
    }
    let list = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    readings.push(Value::Array(list.map(|item| Value::String(item.to_owned())).collect()));
    let mut complaint = None;
    for value in readings {
        match accepts(single(key, value.clone())) {
            Ok(()) => {
                section_of(good, section).insert(key.to_owned(), value);
                return;
            }
            Err(message) => {
                complaint.get_or_insert(message);
            }
        }
    }
    errors.add(format!("{section}.{key}"), format!("{} (from {name})", complaint.unwrap_or_default()));
}

type Reader = fn(Table) -> Result<(), String>;

const SECTIONS: [(&str, Reader); 13] = [
    ("server", accepts::<Server>),
    ("data", accepts::<Data>),
    ("database", accepts::<Database>),
    ("media", accepts::<Media>),
    ("livekit", accepts::<Livekit>),
    ("recorder", accepts::<Recorder>),
    ("security", accepts::<Security>),
    ("log", accepts::<Log>),
    ("rtsp", accepts::<Rtsp>),
    ("gb28181", accepts::<Gb28181>),
    ("rtmp", accepts::<Rtmp>),
    ("alarms", accepts::<Alarms>),
    ("map", accepts::<Map>),
];

fn section_reader(name: &str) -> Option<Reader> {
    SECTIONS.iter().find(|(section, _)| *section == name).map(|(_, reader)| *reader)
}

fn unknown_section() -> String {
    let names: Vec<&str> = SECTIONS.iter().map(|(name, _)| *name).collect();
    format!("is not a section; there are {}.", names.join(", "))
}

fn accepts<S: DeserializeOwned>(table: Table) -> Result<(), String> {
    S::deserialize(table).map(drop).map_err(|fault| first_line(&fault))
}

fn first_line(fault: &toml::de::Error) -> String {
    format!("{}.", fault.message().lines().next().unwrap_or_default())
}

fn single(key: &str, value: Value) -> Table {
    Table::from_iter([(key.to_owned(), value)])
}

/// The section's table in what was accepted so far.
fn section_of<'a>(good: &'a mut Table, section: &str) -> &'a mut Table {
    let entry = good.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if !entry.is_table() {
        *entry = Value::Table(Table::new());
    }
    match entry {
        Value::Table(table) => table,
        _ => unreachable!("made a table just above"),
    }
}
