//! A registry's directory.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use pulseward_base::{
    Digest, Kid, Micros,
    bytes::{hex, unhex},
};
use pulseward_models::{
    artefact::{Candidate, Promoted, Promotion, Trust, load, model_id},
    registry::Chain,
    train::{Line, Listing},
};

use super::args::RegistryArgs;

const ROOT: &str = "root.txt";
const PROMOTIONS: &str = "promotions";

/// A registry and whom it believes.
pub(super) struct Store {
    directory: PathBuf,
    trust: Trust,
}

impl Store {
    pub(super) fn open(args: &RegistryArgs, now: Micros) -> anyhow::Result<Self> {
        let root = match args.root {
            Some(root) => root,
            None => read_root(&args.registry.join(ROOT))?,
        };
        Ok(Self {
            directory: args.registry.clone(),
            trust: Trust { root, now },
        })
    }

    /// Makes a registry that believes `root`.
    pub(super) fn create(directory: &Path, root: Kid, now: Micros) -> anyhow::Result<Self> {
        fs::create_dir_all(directory)?;
        write(
            &directory.join(ROOT),
            format!("{}\n", hex(&root.0)).as_bytes(),
        )?;
        Ok(Self {
            directory: directory.to_path_buf(),
            trust: Trust { root, now },
        })
    }

    pub(super) const fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Keeps a signed model and, unless it is public data that anybody has, what entered its fit.
    pub(super) fn keep(
        &self,
        line: Line,
        signed: &[u8],
        listing: Option<&Listing>,
    ) -> anyhow::Result<PathBuf> {
        let candidate = Candidate::open(signed, &self.trust)?;
        let path = self.path(line, &candidate.digest(), "model");
        write(&path, signed)?;
        if let Some(listing) = listing {
            write(&path.with_extension("listing"), &listing.encode())?;
        }
        Ok(path)
    }

    /// Reads the model whose name begins with `name`, or the one that decides in a line.
    pub(super) fn find(&self, name: &str) -> anyhow::Result<(Line, Candidate)> {
        if let Some(line) = Line::from_name(name) {
            let digest = self.chain(line)?.serving();
            let digest = digest.with_context(|| format!("no model of {name} decides yet"))?;
            return Ok((line, self.candidate(line, &digest)?));
        }
        let mut found = Vec::new();
        for line in Line::ALL {
            for path in files(&self.directory.join(line.name()), "model")? {
                let stem = path
                    .file_stem()
                    .map(|stem| stem.to_string_lossy().into_owned());
                if stem.is_some_and(|stem| !name.is_empty() && stem.starts_with(name)) {
                    found.push((line, path));
                }
            }
        }
        let (line, path) = match found.as_slice() {
            [one] => one,
            [] => bail!("no model is called {name}"),
            _ => bail!("{} models begin with {name}", found.len()),
        };
        Ok((*line, self.read(*line, path)?))
    }

    /// Reads the model that decides in a line.
    pub(super) fn serving(&self, line: Line) -> anyhow::Result<Option<Candidate>> {
        self.chain(line)?
            .serving()
            .map(|digest| self.candidate(line, &digest))
            .transpose()
    }

    /// Loads the model that decides in a line.
    pub(super) fn promoted(&self, line: Line) -> anyhow::Result<Promoted> {
        let paths = self.promotion_files(line)?;
        let last = paths
            .last()
            .with_context(|| format!("no model of {} decides yet", line.name()))?;
        let digest = self.chain(line)?.serving().context("the chain is empty")?;
        let model = read(&self.path(line, &digest, "model"))?;
        Ok(load(&model, Some(&read(last)?), &self.trust)?)
    }

    pub(super) fn candidate(&self, line: Line, digest: &Digest) -> anyhow::Result<Candidate> {
        let candidate = self.read(line, &self.path(line, digest, "model"))?;
        ensure!(
            candidate.digest() == *digest,
            "a model does not have the name of its file"
        );
        Ok(candidate)
    }

    pub(super) fn listing(&self, line: Line, candidate: &Candidate) -> anyhow::Result<Listing> {
        let path = self.path(line, &candidate.digest(), "listing");
        let listing = Listing::decode(&read(&path)?)
            .map_err(|_| anyhow::anyhow!("{} is malformed", path.display()))?;
        let named = candidate
            .draft()
            .card
            .data
            .iter()
            .any(|(name, digest)| name == "listing" && *digest == listing.digest());
        ensure!(
            named,
            "{} is not the listing that the model names",
            path.display()
        );
        Ok(listing)
    }

    /// Reads every model of a line.
    pub(super) fn models(&self, line: Line) -> anyhow::Result<Vec<Candidate>> {
        let paths = files(&self.directory.join(line.name()), "model")?;
        paths.iter().map(|path| self.read(line, path)).collect()
    }

    /// Follows the promotions of a line.
    pub(super) fn chain(&self, line: Line) -> anyhow::Result<Chain> {
        let mut chain = Chain::default();
        for path in self.promotion_files(line)? {
            let promotion = Promotion::open(&read(&path)?, &self.trust)
                .with_context(|| path.display().to_string())?;
            chain
                .push(promotion)
                .with_context(|| path.display().to_string())?;
        }
        Ok(chain)
    }

    /// Adds a promotion; one that does not follow, or whose model does not load, is refused.
    pub(super) fn promote(&self, line: Line, bytes: &[u8]) -> anyhow::Result<Promoted> {
        let mut chain = self.chain(line)?;
        let promotion = Promotion::open(bytes, &self.trust)?;
        let promoted = self
            .candidate(line, &promotion.model())?
            .promoted(&promotion)?;
        chain.push(promotion)?;
        let name = format!("{:04}.promotion", chain.promotions().len());
        write(
            &self.directory.join(line.name()).join(PROMOTIONS).join(name),
            bytes,
        )?;
        Ok(promoted)
    }

    fn promotion_files(&self, line: Line) -> anyhow::Result<Vec<PathBuf>> {
        files(
            &self.directory.join(line.name()).join(PROMOTIONS),
            "promotion",
        )
    }

    fn path(&self, line: Line, digest: &Digest, extension: &str) -> PathBuf {
        let name = hex(&model_id(digest).0);
        self.directory
            .join(line.name())
            .join(format!("{name}.{extension}"))
    }

    fn read(&self, line: Line, path: &Path) -> anyhow::Result<Candidate> {
        let candidate = Candidate::open(&read(path)?, &self.trust)
            .with_context(|| path.display().to_string())?;
        let of = Line::of(&candidate.draft().parameters);
        ensure!(
            of == line,
            "{} is no model of {}",
            path.display(),
            line.name()
        );
        Ok(candidate)
    }
}

/// Files with an extension, in the order of their names.
fn files(directory: &Path, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_root(path: &Path) -> anyhow::Result<Kid> {
    let text = fs::read_to_string(path).with_context(|| {
        format!(
            "couldn't read {}: name the root with --root",
            path.display()
        )
    })?;
    let bytes = unhex(text.trim())
        .ok()
        .and_then(|bytes| bytes.try_into().ok());
    Ok(Kid(bytes.with_context(|| {
        format!("{} is no root", path.display())
    })?))
}

pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("couldn't read {}", path.display()))
}

/// Replaces a file in one step, durably.
pub(super) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let context = || format!("couldn't write {}", path.display());
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    fs::create_dir_all(directory).with_context(context)?;
    let beside = path.with_extension("new");
    let mut file = fs::File::create(&beside).with_context(context)?;
    file.write_all(bytes).with_context(context)?;
    file.sync_all().with_context(context)?;
    fs::rename(&beside, path).with_context(context)?;
    fs::File::open(directory)
        .and_then(|directory| directory.sync_all())
        .with_context(context)
}
