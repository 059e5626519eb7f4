//! Which files a recording is given out as, and which parts of its tracks go into each.
//!
//! Players show one track of pictures and one of sound. So a file is one participant's camera and
//! microphone, or its screen with the screen's sound, and the parts of each kind that follow one another
//! are one track of it. Where the next part needs a decoder that the track can't change to, pictures and
//! sound go on in a further file.
//!
//! Invariant: every part stands in exactly one track of each file whose time it reaches into, and the files
//! of one participant's source follow one another, but for parts that ran beside others of their kind.

/// Parts that overlap by no more are taken for one after the other, ms.
pub(super) const OVERLAP: i64 = 100;

/// What a player must know of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// The sample entry's four letters.
    pub kind: [u8; 4],
    pub timescale: u32,
    /// The whole sample entry.
    pub entry: Vec<u8>,
}

impl Form {
    /// Whether both can be in one track. Of H.264 and H.265 the parameter sets can stand in band; VP8 and Opus
    /// say everything in each keyframe, each packet.
    fn joins(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.timescale == other.timescale
            && (matches!(&self.kind, b"avc1" | b"hvc1" | b"vp08" | b"Opus") || self.entry == other.entry)
    }
}

/// One track of the recording as it lies on disk.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub participant: String,
    /// For files' names.
    pub name: String,
    pub screen: bool,
    pub video: bool,
    /// On the recording's clock, ms.
    pub start: i64,
    pub end: i64,
    pub form: Form,
}

/// A piece of a part, of those fragments that begin from `from` on and before `to` (recording's clock, ms).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub part: usize,
    pub from: i64,
    pub to: i64,
}

/// One file: at most one track of pictures and one of sound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Planned {
    /// Without an ending; no two files of a plan have the same.
    pub name: String,
    pub video: Vec<Piece>,
    pub audio: Vec<Piece>,
}

/// The files of a recording, in the order in which their sources began.
pub(super) fn plan(parts: &[Part]) -> Vec<Planned> {
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|&part| (parts[part].start, part));
    let mut sources: Vec<((&str, bool), Vec<usize>)> = Vec::new();
    for part in order {
        let source = (parts[part].participant.as_str(), parts[part].screen);
        match sources.iter_mut().find(|(key, _)| *key == source) {
            Some((_, of)) => of.push(part),
            None => sources.push((source, vec![part])),
        }
    }
    let mut files = Vec::new();
    for ((_, screen), of) in sources {
        let name = of.first().map_or("", |&part| parts[part].name.as_str());
        let base = format!("{}{}", super::plain_name(name), if screen { "-screen" } else { "" });
        for file in of_source(parts, &of) {
            files.push(Planned { name: free_name(&base, &files), ..file });
        }
    }
    files
}

fn free_name(base: &str, taken: &[Planned]) -> String {
    let same = |name: &str| taken.iter().any(|file| file.name.eq_ignore_ascii_case(name));
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    std::iter::once(base.to_owned()).chain(numbered).find(|name| !same(name)).unwrap_or_default()
}

/// The files of one participant's source; `of` by start.
fn of_source(parts: &[Part], of: &[usize]) -> Vec<Planned> {
    let (main_video, beside_video) = one_after_the_other(parts, of, true);
    let (main_audio, beside_audio) = one_after_the_other(parts, of, false);
    let mut cuts: Vec<i64> = [&main_video, &main_audio]
        .into_iter()
        .flat_map(|lane| lane.windows(2))
        .filter(|pair| !parts[pair[0]].form.joins(&parts[pair[1]].form))
        .map(|pair| parts[pair[1]].start)
        .collect();
    cuts.sort_unstable();
    cuts.dedup();
    let begins = std::iter::once(i64::MIN).chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain([i64::MAX]);
    let within = |lane: &[usize], from: i64, to: i64| -> Vec<Piece> {
        let reaches = |part: &&usize| parts[**part].start < to && parts[**part].end > from;
        lane.iter().filter(reaches).map(|&part| Piece { part, from, to }).collect()
    };
    let mut files: Vec<Planned> = begins
        .zip(ends)
        .map(|(from, to)| Planned {
            name: String::new(),
            video: within(&main_video, from, to),
            audio: within(&main_audio, from, to),
        })
        .filter(|file| !file.video.is_empty() || !file.audio.is_empty())
        .collect();
    let whole = |part: usize| vec![Piece { part, from: i64::MIN, to: i64::MAX }];
    files.extend(beside_video.into_iter().map(|part| Planned { video: whole(part), ..Planned::default() }));
    files.extend(beside_audio.into_iter().map(|part| Planned { audio: whole(part), ..Planned::default() }));
    files
}

/// The parts of a kind that follow one another, and those that ran beside these.
fn one_after_the_other(parts: &[Part], of: &[usize], video: bool) -> (Vec<usize>, Vec<usize>) {
    let mut end = i64::MIN;
    of.iter().copied().filter(|&part| parts[part].video == video).partition(|&part| {
        let follows = parts[part].start >= end.saturating_sub(OVERLAP);
        if follows {
            end = end.max(parts[part].end);
        }
        follows
    })
}
