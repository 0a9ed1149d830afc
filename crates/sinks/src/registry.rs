//! Which sinks there are, and the filters their Sessions may have: a file in the data directory.
//!
//! A Session outlives the process, and so outlives a configuration that does not know it any more. What stands here is
//! written before a Session can be that way and taken out after it is not: it may say too much, never too little.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

/// Sinks by name, with their filters.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// `None`: the broker keeps everything in memory, and so do its Sessions.
    path: Option<PathBuf>,
    known: BTreeMap<String, BTreeSet<String>>,
}

const FILE: &str = "sinks.json";

impl Registry {
    pub(crate) fn open(data_dir: Option<&Path>) -> io::Result<Self> {
        let path = data_dir.map(|folder| folder.join(FILE));
        let text = match path.as_ref().map(fs::read_to_string) {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io::Error::new(error.kind(), format!("{FILE} in the data directory: {error}")));
            }
            Some(Ok(text)) => text,
            _ => "{}".to_owned(),
        };
        let known = serde_json::from_str(&text)
            .map_err(|error| io::Error::other(format!("{FILE} in the data directory is damaged: {error}")))?;
        Ok(Self { path, known })
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.known.keys()
    }

    /// The filters that a Session may have.
    pub(crate) fn filters(&self, name: &str) -> BTreeSet<String> {
        self.known.get(name).cloned().unwrap_or_default()
    }

    /// Notes that a Session may have these filters, and no others; `None`: that there is none.
    pub(crate) fn note(&mut self, name: &str, filters: Option<BTreeSet<String>>) -> io::Result<()> {
        if self.known.get(name) == filters.as_ref() {
            return Ok(());
        }
        match filters {
            Some(filters) => self.known.insert(name.to_owned(), filters),
            None => self.known.remove(name),
        };
        let Some(path) = &self.path else { return Ok(()) };
        let new = path.with_extension("new");
        let file = fs::File::create(&new)?;
        serde_json::to_writer_pretty(&file, &self.known)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers() {
        let folder = std::env::temp_dir().join(format!("cork-registry-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let filters = BTreeSet::from(["a/#".to_owned(), "\"b\"".to_owned()]);
        let mut registry = Registry::open(Some(&folder)).unwrap();
        registry.note("one", Some(filters.clone())).unwrap();
        registry.note("two", Some(BTreeSet::new())).unwrap();
        registry.note("two", None).unwrap();
        let again = Registry::open(Some(&folder)).unwrap();
        assert_eq!(again.names().collect::<Vec<_>>(), ["one"]);
        assert_eq!((again.filters("one"), again.filters("two")), (filters, BTreeSet::new()));
        fs::write(folder.join(FILE), "{").unwrap();
        assert!(Registry::open(Some(&folder)).unwrap_err().to_string().contains("damaged"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
