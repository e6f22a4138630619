//! What is done with the images of a family.

use crate::family::{Family, Image};

impl Family {
    /// One step in its life.
    pub(crate) fn step(&mut self) {
        match self.random.below(24) {
            0..2 => self.create(),
            2..7 => self.write(),
            7..10 => self.snapshot(),
            10..12 => self.resize(),
            12 => self.amend(),
            13..16 => self.commit(),
            16..18 => self.rebase(),
            18 => self.rebase_there_and_back(),
            19..21 => self.convert(),
            21 => self.convert_into(),
            _ => self.bitmap(),
        }
    }

    fn pick(&mut self, of: &[&'static str]) -> &'static str {
        self.random.of::<&'static str>(of)
    }

    fn size(&mut self) -> usize {
        let size = match self.random.below(4) {
            0 => 65536 * (1 + self.random.below(32)),
            1 => 512 * (1 + self.random.below(300)),
            _ => 512 * (1 + self.random.below(4000)),
        };
        size as usize
    }

    /// Options of a new image that go together; it is told its clusters and its data file.
    fn options(&mut self, image: &mut Image) -> String {
        let (word, cluster) = *self.random.of(&[
            ("512", 512),
            ("2k", 2048),
            ("4k", 4096),
            ("16k", 16384),
            ("64k", 65536),
            ("2M", 2 << 20),
        ]);
        image.cluster = cluster;
        let mut options = format!("cluster_size={word}");
        if self.chance(20) {
            return options + ",compat=0.10";
        }
        if cluster >= 16384 && self.chance(50) {
            options += ",extended_l2=on";
        }
        if self.chance(20) {
            options += ",lazy_refcounts=on";
        }
        if self.chance(30) {
            options += ",refcount_bits=";
            options += self.pick(&["1", "2", "8", "32", "64"]);
        }
        if self.chance(30) {
            options += ",compression_type=zstd";
        }
        if self.chance(15) {
            let data_file = format!("{}.data", image.name);
            options += &format!(",data_file={data_file}");
            image.data_file = Some(data_file);
            if image.backing.is_none() && self.chance(50) {
                options += ",data_file_raw=on";
            }
        }
        options
    }

    /// A new image, on one of the others or on its own.
    pub(crate) fn create(&mut self) {
        let below = self.any(|family, image| family.chain(&image.name).len() < 4);
        let below = below.filter(|_| self.chance(75));
        let mut image = Image {
            name: self.name(),
            backing: below.as_ref().map(|below| below.name.clone()),
            ..Image::default()
        };
        let size = self.size();
        let is_raw = below.is_none() && self.chance(40);
        image.format = if is_raw { "raw" } else { "qcow2" };
        let mut words = vec!["-q", "-f", image.format];
        let options;
        if !is_raw {
            options = self.options(&mut image);
            words.extend(["-o", options.as_str()]);
        }
        if let Some(below) = &below {
            words.extend(["-b", below.name.as_str(), "-F", below.format]);
            image.content.clone_from(&below.content);
        }
        image.content.resize(size, 0);
        let size = size.to_string();
        let name = image.name.clone();
        words.extend([name.as_str(), size.as_str()]);
        if !self.ours("create", &words) {
            self.fail("a new image was refused");
        }
        if is_raw && self.chance(40) {
            // Its end is not that of a sector.
            let length = image.content.len() - self.random.below(512) as usize;
            image.content.truncate(length);
            let file = std::fs::File::options()
                .write(true)
                .open(self.folder().join(&name));
            file.and_then(|file| file.set_len(length as u64)).unwrap();
        }
        self.images.insert(name.clone(), image);
        self.write_to(&name);
    }

    fn write(&mut self) {
        if let Some(image) = self.leaf(|_| true) {
            self.write_to(&image.name);
        }
    }

    /// A few writes of all kinds by QEMU.
    fn write_to(&mut self, name: &str) {
        for _ in 0..1 + self.random.below(4) {
            let image = self.image(name).clone();
            let sectors = image.content.len() as u64 / 512;
            if sectors == 0 {
                return;
            }
            let mut first = self.random.below(sectors);
            let longest = *self.random.of(&[1_u64, 16, 130, 900]);
            let mut count = 1 + self.random.below(longest);
            let cluster = image.cluster / 512;
            let aligned = cluster > 0 && first / cluster * cluster + cluster <= sectors;
            let compressed = aligned && image.data_file.is_none() && self.chance(15);
            if compressed || aligned && self.chance(25) {
                first = first / cluster * cluster;
                count = cluster;
            }
            let (start, end) = (first * 512, (first + count).min(sectors) * 512);
            let byte = 1 + self.random.below(255) as u8;
            let place = format!("{start} {}", end - start);
            let (line, byte) = match self.random.below(5) {
                _ if compressed => (format!("write -c -P {byte} {place}"), byte),
                0 => (format!("write -z {place}"), 0),
                1 => (format!("write -z -u {place}"), 0),
                _ => (format!("write -P {byte} {place}"), byte),
            };
            let said = self.qemu(
                "qemu-io",
                &["-f", image.format, "-d", "unmap", "-c", &line, name],
            );
            if said.status.success() {
                self.image(name).content[start as usize..end as usize].fill(byte);
            } else if !compressed {
                self.fail(&String::from_utf8_lossy(&said.stderr));
            }
        }
    }

    fn snapshot(&mut self) {
        let Some(image) = self.leaf(|image| image.format == "qcow2") else {
            return;
        };
        let name = image.name.as_str();
        if image.snapshots.is_empty() || self.chance(50) {
            let snapshot = self.name();
            if self.ours("snapshot", &["-c", &snapshot, name]) {
                self.image(name)
                    .snapshots
                    .push((snapshot, Some(image.content)));
            }
            return;
        }
        let (snapshot, content) = self.random.of(&image.snapshots).clone();
        if self.chance(50) {
            if self.ours("snapshot", &["-d", &snapshot, name]) {
                self.image(name)
                    .snapshots
                    .retain(|(name, _)| *name != snapshot);
            }
        } else if self.ours("snapshot", &["-a", &snapshot, name]) {
            let content = content.unwrap_or_else(|| self.read(&image, None));
            self.image(name).content = content;
        }
    }

    fn resize(&mut self) {
        let Some(image) = self.leaf(|_| true) else {
            return;
        };
        let before = image.content.len();
        let grows = self.chance(60);
        let size = if grows {
            before + self.size()
        } else {
            before / 2
        };
        let size = size.next_multiple_of(512);
        let word = size.to_string();
        let mut words = vec!["-q", "-f", image.format];
        if size < before {
            words.push("--shrink");
        } else if self.chance(30) {
            words.extend([
                "--preallocation",
                self.pick(&["metadata", "falloc", "full"]),
            ]);
        }
        words.extend([image.name.as_str(), word.as_str()]);
        if self.ours("resize", &words) {
            self.image(&image.name).content.resize(size, 0);
        }
    }

    fn amend(&mut self) {
        let Some(image) = self.any(|_, image| image.format == "qcow2") else {
            return;
        };
        let option = self.pick(&[
            "lazy_refcounts=on",
            "lazy_refcounts=off",
            "compat=0.10",
            "compat=1.1",
            "refcount_bits=1",
            "refcount_bits=4",
            "refcount_bits=16",
            "refcount_bits=64",
        ]);
        self.ours("amend", &["-f", "qcow2", "-o", option, &image.name]);
    }

    /// Commits into the backing file, or one further down. Others that stand on that are removed:
    /// what they read is nobody's business any more.
    fn commit(&mut self) {
        let Some(image) = self.any(|_, image| image.backing.is_some()) else {
            return;
        };
        let name = image.name.as_str();
        let chain = self.chain(name);
        let deep = chain.len() > 2 && self.chance(40);
        let depth = if deep { chain.len() - 1 } else { 1 };
        let base = chain[depth].clone();
        let above = self.above(name);
        for other in self.above(&base) {
            if !chain.contains(&other) && !above.contains(&other) {
                self.remove(&other);
            }
        }
        let mut words = vec!["-q", "-f", image.format];
        if deep {
            words.extend(["-b", base.as_str()]);
        }
        if self.chance(40) {
            words.push("-d");
        }
        words.push(name);
        if !self.ours("commit", &words) {
            return;
        }
        let below = &mut self.image(&base).content;
        // A larger one keeps its end.
        let end = below
            .get(image.content.len()..)
            .unwrap_or_default()
            .to_vec();
        *below = [image.content, end].concat();
        for between in &chain[1..depth] {
            let content = self.read(&self.images[between], None);
            self.image(between).content = content;
        }
        for other in chain[..depth].iter().chain(&above) {
            self.forget_snapshots(other);
        }
    }

    /// Their disks may be others now: what lies below them has changed.
    fn forget_snapshots(&mut self, name: &str) {
        for (_, content) in &mut self.image(name).snapshots {
            *content = None;
        }
    }

    /// Puts an image on any other, or on nothing.
    fn rebase(&mut self) {
        let Some(image) = self.any(|_, image| image.format == "qcow2") else {
            return;
        };
        let name = image.name.as_str();
        let above = self.above(name);
        let below = self.any(|family, below| {
            below.name != name
                && !above.contains(&below.name)
                && family.chain(&below.name).len() < 4
        });
        let below = below.filter(|_| self.chance(75));
        let mut words = vec!["-q", "-f", "qcow2"];
        if image.data_file.is_none() && self.chance(20) {
            words.push("-c");
        }
        match &below {
            Some(below) => words.extend(["-b", below.name.as_str(), "-F", below.format]),
            None => words.extend(["-b", ""]),
        }
        words.push(name);
        if self.ours("rebase", &words) {
            self.image(name).backing = below.map(|below| below.name);
            self.forget_snapshots(name);
        }
    }

    /// Without a look at what it reads in between.
    fn rebase_there_and_back(&mut self) {
        let Some(image) = self.any(|_, image| image.backing.is_some()) else {
            return;
        };
        let below = self.images[image.backing.as_ref().unwrap()].clone();
        let above = self.above(&image.name);
        let other = self.any(|_, other| other.name != image.name && !above.contains(&other.name));
        for below in [other.unwrap_or_else(|| below.clone()), below] {
            let words = [
                "-u",
                "-q",
                "-b",
                &below.name,
                "-F",
                below.format,
                &image.name,
            ];
            if !self.ours("rebase", &words) {
                self.fail("a name was refused");
            }
        }
    }

    /// A new image with the disk of another, or of two, or of a snapshot.
    fn convert(&mut self) {
        let Some(image) = self.any(|_, _| true) else {
            return;
        };
        let mut new = Image {
            name: self.name(),
            format: self.pick(&["raw", "qcow2", "qcow2", "qcow2"]),
            content: image.content.clone(),
            ..Image::default()
        };
        let snapshot = image.snapshots.first().cloned().filter(|_| self.chance(40));
        let second = self.any(|_, other| other.format == image.format);
        let second = second.filter(|_| snapshot.is_none() && self.chance(20));
        let is_whole = snapshot.is_none() && second.is_none();
        let stands = new.format == "qcow2" && is_whole && self.chance(40);
        new.backing = image.backing.clone().filter(|_| stands);
        let mut words = vec!["-f", image.format, "-O", new.format];
        let options;
        if new.format == "qcow2" {
            options = self.options(&mut new);
            words.extend(["-o", options.as_str()]);
        }
        if let Some(below) = &new.backing {
            words.extend(["-B", below.as_str(), "-F", self.images[below].format]);
        }
        if new.format == "qcow2" && is_whole && self.chance(50) {
            words.extend(["--snapshots", "--bitmaps"]);
            new.snapshots.clone_from(&image.snapshots);
            new.bitmaps.clone_from(&image.bitmaps);
        }
        let selector = snapshot.map(|(name, _)| format!("snapshot.name={name}"));
        if let Some(selector) = &selector {
            words.extend(["-l", selector.as_str()]);
        }
        words.extend(self.ways_to_convert());
        words.push(&image.name);
        if let Some(second) = &second {
            words.push(&second.name);
            new.content
                .resize(new.content.len().next_multiple_of(512), 0);
            new.content.extend_from_slice(&second.content);
        }
        let name = new.name.clone();
        words.push(&name);
        if !self.ours("convert", &words) {
            return;
        }
        new.content
            .resize(new.content.len().next_multiple_of(512), 0);
        if let Some(selector) = &selector {
            // It is compared with what the snapshot holds in any case.
            let snapshot = selector.trim_start_matches("snapshot.name=");
            let length = self.read(&new, None).len();
            new.content = self.read(&image, Some(snapshot));
            new.content.resize(length, 0);
        }
        self.images.insert(name, new);
    }

    fn ways_to_convert(&mut self) -> Vec<&'static str> {
        let mut words = Vec::new();
        if self.chance(25) {
            words.push("-c");
        }
        if self.chance(30) {
            words.extend(["-S", self.pick(&["0", "512", "64k", "1M"])]);
        }
        if self.chance(20) {
            words.extend(["-m", self.pick(&["1", "3", "16"])]);
        }
        if self.chance(20) {
            words.push("--salvage");
        }
        words
    }

    /// Writes one disk over another.
    fn convert_into(&mut self) {
        let Some(target) = self.leaf(|_| true) else {
            return;
        };
        let chain = self.chain(&target.name);
        let Some(source) = self.any(|_, source| {
            !chain.contains(&source.name) && source.content.len() <= target.content.len()
        }) else {
            return;
        };
        let mut words = vec!["-n", "-f", source.format, "-O", target.format];
        words.extend(self.ways_to_convert());
        words.retain(|word| *word != "-c");
        words.extend([source.name.as_str(), target.name.as_str()]);
        if self.ours("convert", &words) {
            let content = &mut self.image(&target.name).content;
            let length = source.content.len();
            content[..length].copy_from_slice(&source.content);
            // It writes whole sectors.
            let end = length.next_multiple_of(512).min(content.len());
            content[length..end].fill(0);
        }
    }

    fn bitmap(&mut self) {
        let Some(image) = self.any(|_, image| image.format == "qcow2") else {
            return;
        };
        let of_old = image
            .bitmaps
            .keys()
            .next()
            .cloned()
            .filter(|_| self.chance(50));
        let deed = match of_old {
            Some(_) => self.pick(&["--remove", "--clear", "--enable", "--disable"]),
            None => "--add",
        };
        let bitmap = of_old.unwrap_or_else(|| self.name());
        if !self.ours("bitmap", &[deed, &image.name, &bitmap]) {
            return;
        }
        let bitmaps = &mut self.image(&image.name).bitmaps;
        match deed {
            "--remove" => drop(bitmaps.remove(&bitmap)),
            "--clear" => {}
            _ => drop(bitmaps.insert(bitmap, deed != "--disable")),
        }
    }
}
