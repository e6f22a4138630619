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
        // The paper is the window's ground.

        let (paper, inks) = match (self.dark, self.high_contrast) {
            (false, false) => (0xfa_fafa, LIGHT),
            (true, false) => (0x24_2424, DARK),
            (false, true) => (0xfa_fafa, LIGHT_CONTRAST),
            (true, true) => (0x24_2424, DARK_CONTRAST),
        };
        Palette {
            paper: rgb(paper),
            inks: inks.map(ink),
            different: ink(if self.dark {
                DARK_DIFFERENT
            } else {
                LIGHT_DIFFERENT
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
    (0x8c_b8f0, 0x4d_8ee0),
    (0x61_3583, 0xc0_61cb),
    (0xb4_b2ae, 0xd2_d0cc),
    (0xeb_ebeb, 0xeb_ebeb),
];

const DARK: Inks = [
    (0x62_a0ea, 0x62_a0ea),
    (0x2d_69b8, 0x6f_a4e8),
    (0xf0_c8f2, 0x9b_4fae),
    (0x77_767b, 0x56_555a),
    (0x35_3535, 0x35_3535),
];

const LIGHT_CONTRAST: Inks = [
    (0x0b_4aa8, 0x0b_4aa8),
    (0x7f_b0ee, 0x0b_3a80),
    (0x3d_0a55, 0xff_b8ff),
    (0x8a_8884, 0xff_ffff),
    (0xe2_e2e2, 0xe2_e2e2),
];

const DARK_CONTRAST: Inks = [
    (0x7f_b8ff, 0x7f_b8ff),
    (0x35_72c4, 0xff_ffff),
    (0xff_e0ff, 0x7a_2090),
    (0x9a_999e, 0x00_0000),
    (0x38_3838, 0x38_3838),
];

/// Ground and mark of what differs: warm, where all else is cold or grey.
const LIGHT_DIFFERENT: (u32, u32) = (0xa5_1d2d, 0xff_be6f);
const DARK_DIFFERENT: (u32, u32) = (0xff_a348, 0x8a_1422);

fn ink((ground, mark): (u32, u32)) -> Ink {
    Ink {
        ground: rgb(ground),
        mark: rgb(mark),
    }
}

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
                assert!(contrast(backing, free) >= 1.6, "{theme:?}");
                let compressed = palette.ink(Class::Compressed);
                assert!(contrast(compressed.ground, compressed.mark) >= 2.0);
                assert!(contrast(compressed.ground, data) >= 1.5, "{theme:?}");
                let different = palette.different;
                assert!(contrast(different.ground, different.mark) >= 3.0);
                assert!(contrast(different.ground, free) >= 3.0, "{theme:?}");
                assert!(contrast(theme.text(), palette.paper) >= 7.0, "{theme:?}");
            }
        }
    }
}
