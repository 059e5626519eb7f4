//! What people type to be read by people: titles and names.

/// A name or title as it is kept: without space and invisible characters around it. `None` when
/// nothing visible is left, when it is longer than `longest` characters, or when it holds characters
/// that change how text around it is shown (controls, line breaks, direction overrides).
///
/// Joiners and variation selectors within are kept, they belong to writing (emoji, Persian, Indic).
pub fn label(text: &str, longest: usize) -> Option<String> {
    let kept = text.trim_matches(|c: char| c.is_whitespace() || is_invisible(c));
    let visible = kept.chars().any(|c| !c.is_whitespace() && !is_invisible(c) && !is_selector(c));
    let fits = kept.chars().count() <= longest && !kept.chars().any(|c| c.is_control() || disturbs(c));
    (visible && fits).then(|| kept.to_owned())
}

/// Characters that show nothing where they stand alone: those with the property
/// Default_Ignorable_Code_Point (Unicode Standard Annex 44) but variation selectors, and the blank
/// Braille pattern.
pub fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

fn is_selector(c: char) -> bool {
    matches!(c, '\u{fe00}'..='\u{fe0f}')
}

/// Line and paragraph separators, and what turns the direction of the text that follows.
fn disturbs(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shows_nothing_is_no_name() {
        for text in ["", " ", "\u{200b}\u{200b}", "\u{3164}", "\u{2800} \u{feff}", "\u{fe0f}", "\u{e0041}", "\u{3000}"]
        {
            assert_eq!(label(text, 64), None, "{text:?}");
        }
    }

    #[test]
    fn names_of_all_scripts_stay_as_they_are() {
        for text in ["环境应急指挥", "张 伟", "👨‍👩‍👧 一家", "❤\u{fe0f}", "می‌خواهم", "Ø 1-2"]
        {
            assert_eq!(label(text, 64).as_deref(), Some(text));
        }
        assert_eq!(label("\u{200b} 大厅\u{3000}\u{feff}", 64).as_deref(), Some("大厅"));
    }

    #[test]
    fn what_disturbs_others_and_what_is_too_long_is_refused() {
        for text in ["a\u{202e}b", "a\nb", "a\u{2028}b", "a\u{0}b", "\u{2066}x\u{2069}y"] {
            assert_eq!(label(text, 64), None, "{text:?}");
        }
        assert_eq!(label(&"长".repeat(65), 64), None);
        assert_eq!(label(&"长".repeat(64), 64), Some("长".repeat(64)));
    }
}
