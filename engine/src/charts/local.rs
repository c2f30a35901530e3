//! Charts in a folder of this machine: an `index.yaml` with archives, archives alone, or folders that are charts.
//!
//! The folder is the operator's (`--replace-source`), its charts are not: links are refused, and sizes bounded.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use gitmoor_core::chart::{Entry, entries};
use gitmoor_core::yaml;

use super::{ChartError, ChartErrorKind, LARGEST_ARCHIVE, Limits};

/// Most entries of a folder that are looked at.
const MOST_ENTRIES: usize = 10_000;
const LARGEST_INDEX: u64 = 64 << 20;

/// A version, and where it is.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) entry: Entry,
    /// An archive, or a chart's folder.
    pub(crate) at: PathBuf,
}

/// Every version of a chart that the folder has.
pub(crate) fn versions(folder: &Path, chart: &str) -> Result<Vec<Found>, ChartError> {
    let (below, name) = chart.rsplit_once('/').unwrap_or(("", chart));
    let folder = &folder.join(below);
    if !folder.is_dir() {
        let message = format!("{} is no folder: correct --replace-source", folder.display());
        return Err(ChartError { kind: ChartErrorKind::NotFound, message });
    }
    let mut found = of_index(folder, name)?;
    for entry in fs::read_dir(folder).map_err(|error| failed(folder, &error))?.take(MOST_ENTRIES) {
        let at = entry.map_err(|error| failed(folder, &error))?.path();
        let version = if at.is_dir() { of_folder(&at, name)? } else { of_archive(&at, name) };
        if let Some(version) = version.filter(|version| found.iter().all(|known| known.entry.version != *version)) {
            found.push(Found { entry: Entry { version, ..Entry::default() }, at });
        }
    }
    Ok(found)
}

/// The packed chart at a place.
pub(crate) fn packed(at: &Path, limits: &Limits) -> Result<Vec<u8>, ChartError> {
    if at.is_dir() { pack(at, limits) } else { read(at, LARGEST_ARCHIVE) }
}

/// A file of at most `limit` bytes.
pub(crate) fn read(at: &Path, limit: u64) -> Result<Vec<u8>, ChartError> {
    let read = || {
        let mut bytes = Vec::new();
        fs::File::open(at)?.take(limit + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error: io::Error| failed(at, &error))?;
    if bytes.len() as u64 > limit {
        let message = format!("{} has more than {limit} bytes", at.display());
        return Err(ChartError { kind: ChartErrorKind::TooLarge, message });
    }
    Ok(bytes)
}

/// Archives that the index names, as far as they are in the folder: by their path, or upstream's by their file's name.
fn of_index(folder: &Path, chart: &str) -> Result<Vec<Found>, ChartError> {
    let index = folder.join("index.yaml");
    if !index.is_file() {
        return Ok(Vec::new());
    }
    let text = String::from_utf8_lossy(&read(&index, LARGEST_INDEX)?).into_owned();
    let listed = match entries(&text, chart) {
        Ok(listed) => listed,
        Err(gitmoor_core::chart::IndexError::NoChart(_)) => return Ok(Vec::new()),
        Err(error) => {
            let message = format!("{} is no index: {error}", index.display());
            return Err(ChartError { kind: ChartErrorKind::InvalidIndex, message });
        }
    };
    let place = |url: &String| {
        let relative =
            !url.contains("://") && !Path::new(url).is_absolute() && !url.split('/').any(|part| part == "..");
        let name = url.rsplit('/').next().unwrap_or_default();
        let candidates = [relative.then(|| folder.join(url)), Some(folder.join(name))];
        candidates.into_iter().flatten().find(|path| path.is_file())
    };
    let found = listed.into_iter().filter_map(|entry| Some(Found { at: entry.urls.iter().find_map(place)?, entry }));
    Ok(found.collect())
}

/// Version of the chart in a folder, when it is the one that is looked for.
fn of_folder(folder: &Path, chart: &str) -> Result<Option<String>, ChartError> {
    let file = folder.join("Chart.yaml");
    if !file.is_file() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&read(&file, 1 << 20)?).into_owned();
    let documents = yaml::read_documents(&text, &yaml::Limits::default()).unwrap_or_default();
    let Some(document) = documents.into_iter().next().map(|document| document.value) else { return Ok(None) };
    let is_it = document["name"] == chart;
    Ok(document["version"].as_str().filter(|_| is_it).map(str::to_owned))
}

/// Version in the name of an archive.
fn of_archive(at: &Path, chart: &str) -> Option<String> {
    let name = at.file_name()?.to_str()?;
    let rest = name.strip_prefix(chart)?.strip_prefix('-')?;
    let version = rest.strip_suffix(".tgz").or_else(|| rest.strip_suffix(".tar.gz"))?;
    version.starts_with(|c: char| c.is_ascii_digit()).then(|| version.to_owned())
}

/// Packs a folder; the same files give the same bytes.
fn pack(folder: &Path, limits: &Limits) -> Result<Vec<u8>, ChartError> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let (mut folders, mut count, mut total) = (vec![PathBuf::new()], 0, 0);
    let mut files = Vec::new();
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(folder.join(&inner)).map_err(|error| failed(folder, &error))? {
            let entry = entry.map_err(|error| failed(folder, &error))?;
            let kind = entry.file_type().map_err(|error| failed(folder, &error))?;
            let path = inner.join(entry.file_name());
            count += 1;
            if count > limits.files {
                let message = format!("the chart in {} has more than {} files", folder.display(), limits.files);
                return Err(ChartError { kind: ChartErrorKind::TooLarge, message });
            }
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                files.push(path);
            } else {
                let message = format!("{} is a link or a device", entry.path().display());
                return Err(ChartError { kind: ChartErrorKind::InvalidArchive, message });
            }
        }
    }
    files.sort();
    for path in files {
        let bytes = read(&folder.join(&path), limits.file as u64)?;
        total += bytes.len() as u64;
        if total > limits.total {
            let message = format!("the chart in {} has more than {} bytes", folder.display(), limits.total);
            return Err(ChartError { kind: ChartErrorKind::TooLarge, message });
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        let appended = archive.append_data(&mut header, Path::new("chart").join(&path), bytes.as_slice());
        appended.map_err(|error| failed(folder, &error))?;
    }
    archive.into_inner().and_then(GzEncoder::finish).map_err(|error| failed(folder, &error))
}

fn failed(at: &Path, error: &io::Error) -> ChartError {
    ChartError { kind: ChartErrorKind::Other, message: format!("cannot read {}: {error}", at.display()) }
}
