//! A file of Rust as far as imports go: the paths that it names.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, Group, Spacing, TokenStream, TokenTree};

/// One name of a path.
pub type Name = String;

/// What a file says of other files.
#[derive(Default)]
pub struct File {
    /// The modules it declares, and which file they are in where a `path` says that.
    pub children: BTreeMap<Name, Option<String>>,
    /// What its `use` declarations name, and by which paths.
    pub names: BTreeMap<Name, Vec<Name>>,
    /// The paths of its own `use` declarations and of its code.
    pub uses: BTreeSet<Vec<Name>>,
    /// The paths it re-exports.
    pub passed_on: BTreeSet<Vec<Name>>,
}

impl File {
    /// Leaves out what is built for tests only.
    pub fn parse(text: &str) -> Self {
        let mut words = Vec::new();
        flatten(text.parse().expect("a file of Rust"), &mut words);
        let (mut file, mut at) = (File::default(), 0);
        while at < words.len() {
            let before = at.checked_sub(1).map_or("", |before| words[before].as_str());
            match words[at].as_str() {
                "use" => at = file.declaration(&words, at + 1, &[], matches!(before, "pub" | ")")),
                "mod" if words[at + 2] == ";" => {
                    file.children.insert(words[at + 1].clone(), place(&words[..at]));
                    at += 3;
                }
                word if is_name(word) && before != "." && before != "::" => at = file.path(&words, at),
                _ => at += 1,
            }
        }
        file
    }

    /// Reads what is behind a `use`, or one of several between braces; gives where it ends.
    fn declaration(&mut self, words: &[Name], mut at: usize, begun: &[Name], passed_on: bool) -> usize {
        let mut path = begun.to_vec();
        while words[at] != "{" {
            path.push(words[at].clone());
            at += 1;
            if words[at] != "::" {
                return self.named(words, at, path, passed_on);
            }
            at += 1;
        }
        while words[at] != "}" {
            at += 1;
            if words[at] != "}" {
                at = self.declaration(words, at, &path, passed_on);
            }
        }
        at + 1
    }

    fn named(&mut self, words: &[Name], at: usize, mut path: Vec<Name>, passed_on: bool) -> usize {
        path.pop_if(|last| *last == "self");
        let renamed = words[at] == "as";
        let name = if renamed { Some(&words[at + 1]) } else { path.last() };
        self.names.extend(name.map(|name| (name.clone(), path.clone())));
        let paths = if passed_on { &mut self.passed_on } else { &mut self.uses };
        paths.insert(path);
        if renamed { at + 2 } else { at }
    }

    /// Reads a path in the code; gives where it ends.
    fn path(&mut self, words: &[Name], mut at: usize) -> usize {
        let mut path = vec![words[at].clone()];
        at += 1;
        while let [separator, name, ..] = &words[at..]
            && separator == "::"
            && is_name(name)
        {
            path.push(name.clone());
            at += 2;
        }
        self.uses.insert(path);
        at
    }
}

/// What a `#[path = "…"]` before a declaration says.
fn place(before: &[Name]) -> Option<String> {
    let before = before.strip_suffix(&["pub".into()]).unwrap_or(before);
    let [.., path, equals, place, _] = before else { return None };
    (path == "path" && equals == "=").then(|| place.trim_matches('"').into())
}

fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// The words and signs of a file in a row.
fn flatten(stream: TokenStream, words: &mut Vec<Name>) {
    let mut trees = stream.into_iter();
    while let Some(tree) = trees.next() {
        match tree {
            TokenTree::Group(group) if is_for_tests(&group) => {
                trees.by_ref().find(ends_item);
            }
            TokenTree::Group(group) => {
                let (open, close) = signs(group.delimiter());
                words.push(open.into());
                flatten(group.stream(), words);
                words.push(close.into());
            }
            TokenTree::Punct(sign) if sign.as_char() == ':' && sign.spacing() == Spacing::Joint => {
                trees.next();
                words.push("::".into());
            }
            TokenTree::Punct(sign) => words.push(sign.to_string()),
            TokenTree::Ident(word) => words.push(word.to_string()),
            // Quoted, so that it is no name.
            TokenTree::Literal(literal) => {
                words.push(format!("\"{}\"", literal.to_string().trim_matches('"')))
            }
        }
    }
}

fn is_for_tests(group: &Group) -> bool {
    group.delimiter() == Delimiter::Bracket && group.stream().to_string().replace(' ', "") == "cfg(test)"
}

fn ends_item(tree: &TokenTree) -> bool {
    match tree {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(sign) => sign.as_char() == ';',
        _ => false,
    }
}

fn signs(delimiter: Delimiter) -> (&'static str, &'static str) {
    match delimiter {
        Delimiter::Parenthesis => ("(", ")"),
        Delimiter::Brace => ("{", "}"),
        Delimiter::Bracket => ("[", "]"),
        Delimiter::None => ("", ""),
    }
}
