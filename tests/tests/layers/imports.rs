//! Which files of a crate import which: its `use` declarations and the paths in its code, followed through re-exports to
//! the file that has the name.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::words::{File, Name};

/// A module by its path within its crate; the root is the empty one. Each has a file of its own.
pub type Module = Vec<String>;

/// The files of one crate, without what is built for its tests only.
pub struct Files(BTreeMap<Module, File>);

/// Re-exports of re-exports are followed so far, as `use serde;` names itself.
const MOST_REEXPORTS: usize = 8;

impl Files {
    /// Reads the crate with this root, as far as its `mod` declarations lead.
    pub fn read(root: &Path) -> Self {
        let (mut files, directory) = (BTreeMap::new(), root.parent().expect("a file is in a directory"));
        let mut ahead = vec![(Module::new(), root.to_path_buf())];
        while let Some((module, path)) = ahead.pop() {
            let text =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let file = File::parse(&text);
            for (name, place) in &file.children {
                let child = below(&module, name);
                let path =
                    place.as_ref().map_or_else(|| usual_place(directory, &child), |it| directory.join(it));
                ahead.push((child, path));
            }
            files.insert(module, file);
        }
        Files(files)
    }

    /// The files with these texts, by the path of their modules: `a/b`, or nothing for the root.
    pub fn of(texts: &[(&str, &str)]) -> Self {
        let module = |path: &str| path.split('/').filter(|name| !name.is_empty()).map(String::from).collect();
        Files(texts.iter().map(|(path, text)| (module(path), File::parse(text))).collect())
    }

    /// What each file imports. One that passes on what its own children have imports nothing by that.
    pub fn imports(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let imports = |(module, file): (&Module, &File)| {
            let mut imported: BTreeSet<Module> =
                file.uses.iter().filter_map(|path| self.home(module, path, MOST_REEXPORTS)).collect();
            let passed_on = file.passed_on.iter().filter_map(|path| self.home(module, path, MOST_REEXPORTS));
            imported.extend(passed_on.filter(|home| !home.starts_with(module)));
            imported.remove(module);
            (module.clone(), imported)
        };
        self.0.iter().map(imports).collect()
    }

    /// The module that has what `path` names in `from`; none for another crate's, or for a module as such, which comes
    /// to something only in the paths that begin with it.
    fn home(&self, from: &Module, path: &[Name], most: usize) -> Option<Module> {
        let (first, behind) = path.split_first()?;
        let most = most.checked_sub(1)?;
        let (mut module, mut rest) = match first.as_str() {
            "crate" => (Module::new(), behind),
            "self" => (from.clone(), behind),
            "super" => (from.clone(), path),
            _ if self.child(from, first).is_some() => (from.clone(), path),
            _ => return self.home(from, &[self.0[from].names.get(first)?, behind].concat(), most),
        };
        while let Some((first, behind)) = rest.split_first() {
            match self.child(&module, first) {
                Some(child) => module = child,
                None if first == "super" => drop(module.pop()),
                None => break,
            }
            rest = behind;
        }
        let (first, behind) = rest.split_first()?;
        let named = self.0[&module].names.get(first);
        named.and_then(|named| self.home(&module, &[named, behind].concat(), most)).or(Some(module))
    }

    fn child(&self, module: &Module, name: &Name) -> Option<Module> {
        Some(below(module, name)).filter(|child| self.0.contains_key(child))
    }
}

fn below(module: &Module, name: &Name) -> Module {
    module.iter().chain([name]).cloned().collect()
}

fn usual_place(directory: &Path, module: &Module) -> PathBuf {
    let path = directory.join(module.join("/"));
    let alone = path.with_extension("rs");
    if alone.exists() { alone } else { path.join("mod.rs") }
}

/// The sets of files each of which imports all others of its set, be it by way of others.
pub fn circles(imports: &BTreeMap<Module, BTreeSet<Module>>) -> BTreeSet<BTreeSet<Module>> {
    let reached: BTreeMap<&Module, BTreeSet<&Module>> =
        imports.keys().map(|module| (module, reached_from(module, imports))).collect();
    let circle = |module: &Module| {
        let others = reached[module].iter().filter(|other| reached[**other].contains(module));
        others.map(|other| (*other).clone()).collect::<BTreeSet<Module>>()
    };
    imports.keys().map(circle).filter(|circle| !circle.is_empty()).collect()
}

fn reached_from<'a>(
    module: &'a Module,
    imports: &'a BTreeMap<Module, BTreeSet<Module>>,
) -> BTreeSet<&'a Module> {
    let (mut reached, mut ahead) = (BTreeSet::new(), vec![module]);
    while let Some(module) = ahead.pop() {
        ahead.extend(imports[module].iter().filter(|next| reached.insert(*next)));
    }
    reached
}
