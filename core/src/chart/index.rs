//! `index.yaml` of a chart repository: the versions of one chart.
//!
//! An index has tens of thousands of versions; it is read event by event, and only what belongs to the chart is kept.

use saphyr_parser::{Event, Parser, ScanError};

/// One version of the chart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The version.
    pub version: String,
    /// Where its archive is: an address, or a path relative to the repository.
    pub urls: Vec<String>,
    /// SHA-256 of the archive, in hexadecimal; an index may have none.
    pub digest: Option<String>,
}

/// The index cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// No YAML, or not of the form of an index.
    #[error("index.yaml cannot be read: {0}")]
    Malformed(String),
    /// It has no such chart.
    #[error("index.yaml has no chart {0}")]
    NoChart(String),
}

/// Deepest nesting that is read.
const DEEPEST: usize = 64;
/// Most versions of one chart.
const MOST: usize = 20_000;

/// All versions of a chart, in the order of the index.
pub fn entries(text: &str, chart: &str) -> Result<Vec<Entry>, IndexError> {
    let mut reader = Reader { parser: Parser::new_from_str(text) };
    loop {
        match reader.next()? {
            Event::MappingStart(..) => return reader.index(chart),
            Event::StreamEnd => return Err(malformed("it is empty")),
            Event::StreamStart | Event::DocumentStart(_) => {}
            _ => return Err(malformed("it is no mapping")),
        }
    }
}

struct Reader<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Event<'t>, IndexError> {
        match self.parser.next_event() {
            Some(Ok((event, _))) => Ok(event),
            Some(Err(error)) => Err(scan(&error)),
            None => Err(malformed("it ends within a value")),
        }
    }

    /// Behind the start of the whole mapping.
    fn index(&mut self, chart: &str) -> Result<Vec<Entry>, IndexError> {
        let mut found = None;
        self.mapping(|reader, key| {
            if key != "entries" {
                return reader.skip();
            }
            match reader.next()? {
                Event::MappingStart(..) => reader.mapping(|reader, key| {
                    if key != chart {
                        return reader.skip();
                    }
                    found = Some(reader.versions()?);
                    Ok(())
                }),
                event => reader.skip_from(&event),
            }
        })?;
        found.ok_or_else(|| IndexError::NoChart(chart.to_owned()))
    }

    fn versions(&mut self) -> Result<Vec<Entry>, IndexError> {
        let mut entries = Vec::new();
        let first = self.next()?;
        if !matches!(first, Event::SequenceStart(..)) {
            self.skip_from(&first)?;
            return Ok(entries);
        }
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(entries),
                Event::MappingStart(..) => {
                    let entry = self.entry()?;
                    if entries.len() >= MOST {
                        return Err(malformed("it has too many versions of the chart"));
                    }
                    entries.push(entry);
                }
                event => self.skip_from(&event)?,
            }
        }
    }

    fn entry(&mut self) -> Result<Entry, IndexError> {
        let mut entry = Entry::default();
        self.mapping(|reader, key| {
            match (key, reader.next()?) {
                ("version", Event::Scalar(text, ..)) => entry.version = text.into_owned(),
                ("digest", Event::Scalar(text, ..)) => {
                    let digest = text.strip_prefix("sha256:").unwrap_or(&text).to_ascii_lowercase();
                    entry.digest = Some(digest).filter(|digest| !digest.is_empty());
                }
                ("urls", Event::SequenceStart(..)) => loop {
                    match reader.next()? {
                        Event::SequenceEnd => break,
                        Event::Scalar(text, ..) if entry.urls.len() < 16 => entry.urls.push(text.into_owned()),
                        event => reader.skip_from(&event)?,
                    }
                },
                (_, event) => reader.skip_from(&event)?,
            }
            Ok(())
        })?;
        Ok(entry)
    }

    /// Calls `work` behind each key of a mapping that has begun.
    fn mapping(&mut self, mut work: impl FnMut(&mut Self, &str) -> Result<(), IndexError>) -> Result<(), IndexError> {
        loop {
            match self.next()? {
                Event::MappingEnd => return Ok(()),
                Event::Scalar(key, ..) => work(self, &key)?,
                event => {
                    self.skip_from(&event)?;
                    self.skip()?;
                }
            }
        }
    }

    fn skip(&mut self) -> Result<(), IndexError> {
        let event = self.next()?;
        self.skip_from(&event)
    }

    /// Skips the rest of the value that has begun with an event.
    fn skip_from(&mut self, event: &Event<'t>) -> Result<(), IndexError> {
        let begins = |event: &Event<'_>| matches!(event, Event::MappingStart(..) | Event::SequenceStart(..));
        let mut depth = usize::from(begins(event));
        while depth > 0 {
            let event = self.next()?;
            if begins(&event) {
                depth += 1;
            } else if matches!(event, Event::MappingEnd | Event::SequenceEnd) {
                depth -= 1;
            }
            if depth > DEEPEST {
                return Err(malformed("it is nested too deeply"));
            }
        }
        Ok(())
    }
}

fn malformed(reason: &str) -> IndexError {
    IndexError::Malformed(reason.to_owned())
}

fn scan(error: &ScanError) -> IndexError {
    IndexError::Malformed(format!("line {}: {}", error.marker().line(), error.info()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "apiVersion: v1\nentries:\n  other:\n  - version: 9.9.9\n    deep: {a: [b, {c: d}]}\n  app:\n  - \
                         name: app\n    version: 1.2.0\n    digest: sha256:ABCD\n    urls: [app-1.2.0.tgz]\n  - version: \
                         \"1.1.0\"\n    urls:\n    - https://host/app-1.1.0.tgz\n  empty:\ngenerated: now\n";

    #[test]
    fn versions_of_one_chart_are_read() {
        let found = entries(INDEX, "app").unwrap();
        assert_eq!(
            found[0],
            Entry { version: "1.2.0".into(), urls: vec!["app-1.2.0.tgz".into()], digest: Some("abcd".into()) }
        );
        assert_eq!((found.len(), found[1].digest.as_ref()), (2, None));
        assert_eq!(entries(INDEX, "empty").unwrap(), []);
        assert_eq!(entries(INDEX, "none"), Err(IndexError::NoChart("none".into())));
    }

    #[test]
    fn what_is_no_index_is_an_error() {
        for text in ["", "[a]", "text", "entries: [", "a: {b", &"[".repeat(10_000), "<html><body>404</body></html>"] {
            assert!(entries(text, "app").is_err(), "{text:.20}");
        }
        assert_eq!(entries("entries: [a]\n", "app"), Err(IndexError::NoChart("app".into())));
        assert_eq!(entries("entries: {app: text}\n", "app"), Ok(vec![]));
    }
}
