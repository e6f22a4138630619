//! Colours of the map.
//!
//! Classes differ in lightness as well as in hue, so that they stay apart for colour-blind people
//! and in print; each has a pattern of its own besides ([`platter::plot::raster`]).

use platter::plot::raster::{Ink, Palette, Rgb};
use relm4::adw;

/// The theme as far as painting depends on it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Theme {
    pub(super) dark: bool,
    pub(super) high_contrast: bool,
}

impl Theme {
    /// What the user has chosen for now.
    pub(super) fn current() -> Self {
        let manager = adw::StyleManager::default();
        Self {
            dark: manager.is_dark(),
            high_contrast: manager.is_high_contrast(),
        }
    }

    pub(super) fn palette(self) -> Palette {
        let (paper, inks) = match (self.dark, self.high_contrast) {
            (false, false) => (0xfa_fafa, LIGHT),
            (true, false) => (0x24_2424, DARK),
            (false, true) => (0xff_ffff, LIGHT_CONTRAST),
            (true, true) => (0x00_0000, DARK_CONTRAST),
        };
        Palette {
            paper: rgb(paper),
            inks: inks.map(|(ground, mark)| Ink {
                ground: rgb(ground),
                mark: rgb(mark),
            }),
        }
    }

    /// For letters and axes on the paper.
    pub(super) fn text(self) -> Rgb {
        match (self.dark, self.high_contrast) {
            (false, false) => rgb(0x3d_3846),
            (false, true) => rgb(0x00_0000),
            (true, false) => rgb(0xde_ddda),
            (true, true) => rgb(0xff_ffff),
        }
    }
}

/// Ground and mark of data, backing, compressed, zero, unallocated.
type Inks = [(u32, u32); 5];

const LIGHT: Inks = [
    (0x1c_71d8, 0x1c_71d8),
    (0x99_c1f1, 0x5d_9ae6),
    (0x61_3583, 0xc0_61cb),
    (0xb4_b2ae, 0xd2_d0cc),
    (0xeb_ebeb, 0xeb_ebeb),
];

const DARK: Inks = [
    (0x3a_8ae6, 0x3a_8ae6),
    (0x1d_4a82, 0x5a_8fd0),
    (0xdc_8add, 0x8b_3fa0),
    (0x77_767b, 0x56_555a),
    (0x35_3535, 0x35_3535),
];

const LIGHT_CONTRAST: Inks = [
    (0x0b_4aa8, 0x0b_4aa8),
    (0x8c_bcf5, 0x0b_3a80),
    (0x4a_0d66, 0xff_b8ff),
    (0x8a_8884, 0xff_ffff),
    (0xdd_dddd, 0xdd_dddd),
];

const DARK_CONTRAST: Inks = [
    (0x6c_b0ff, 0x6c_b0ff),
    (0x1a_4a8a, 0xff_ffff),
    (0xf0_b0f2, 0x50_0060),
    (0x9a_999e, 0x00_0000),
    (0x3a_3a3a, 0x3a_3a3a),
];

fn rgb(hex: u32) -> Rgb {
    let [_, red, green, blue] = hex.to_be_bytes();
    Rgb(red, green, blue)
}

#[cfg(test)]
mod tests {
    use platter::plot::cell::Class;

    use super::*;

    /// Relative luminance by the rules for accessible web content.
    fn luminance(colour: Rgb) -> f64 {
        let linear = |value: u8| {
            let value = f64::from(value) / 255.0;
            if value <= 0.03928 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * linear(colour.0) + 0.7152 * linear(colour.1) + 0.0722 * linear(colour.2)
    }

    fn contrast(one: Rgb, other: Rgb) -> f64 {
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    #[test]
    fn classes_differ_in_lightness_in_every_theme() {
        for dark in [false, true] {
            for high_contrast in [false, true] {
                let theme = Theme {
                    dark,
                    high_contrast,
                };
                let palette = theme.palette();
                let data = palette.ink(Class::Data).ground;
                // What the eye must never mix up: stored or not, and whose data it is.
                let free = palette.ink(Class::Unallocated).ground;
                assert!(contrast(data, free) >= 3.0, "{theme:?}");
                assert!(contrast(data, palette.paper) >= 3.0, "{theme:?}");
                let backing = palette.ink(Class::Backing).ground;
                assert!(contrast(data, backing) >= 2.0, "{theme:?}");
                let compressed = palette.ink(Class::Compressed);
                assert!(contrast(compressed.ground, compressed.mark) >= 2.0);
                assert!(contrast(theme.text(), palette.paper) >= 7.0, "{theme:?}");
            }
        }
    }
}
