//! The usual names of partition types.

use uuid::{Uuid, uuid};

/// The name of a GPT partition type, if it is a usual one.
pub(super) fn gpt_name(kind: Uuid) -> Option<&'static str> {
    GPT.iter()
        .find(|(guid, _)| *guid == kind)
        .map(|(_, name)| *name)
}

/// The name of an MBR partition type, if it is a usual one.
pub(super) fn mbr_name(kind: u8) -> Option<&'static str> {
    MBR.iter()
        .find(|(code, _)| *code == kind)
        .map(|(_, name)| *name)
}

pub(super) const GPT: &[(Uuid, &str)] = &[
    (uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"), "EFI System"),
    (
        uuid!("024dee41-33e7-11d3-9d69-0008c781f39f"),
        "MBR partition scheme",
    ),
    (uuid!("21686148-6449-6e6f-744e-656564454649"), "BIOS boot"),
    (
        uuid!("9e1a2d38-c612-4316-aa26-8b49521e5a8b"),
        "PowerPC PReP boot",
    ),
    (
        uuid!("e3c9e316-0b5c-4db8-817d-f92df00215ae"),
        "Microsoft reserved",
    ),
    (
        uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"),
        "Microsoft basic data",
    ),
    (
        uuid!("5808c8aa-7e8f-42e0-85d2-e1e90434cfb3"),
        "Microsoft LDM metadata",
    ),
    (
        uuid!("af9b60a0-1431-4f62-bc68-3311714a69ad"),
        "Microsoft LDM data",
    ),
    (
        uuid!("de94bba4-06d1-4d40-a16a-bfd50179d6ac"),
        "Windows recovery",
    ),
    (
        uuid!("e75caf8f-f680-4cee-afa3-b001e56efc2d"),
        "Microsoft Storage Spaces",
    ),
    (uuid!("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"), "Linux swap"),
    (
        uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4"),
        "Linux filesystem",
    ),
    (
        uuid!("3b8f8425-20e0-4f3b-907f-1a25a76f98e8"),
        "Linux server data",
    ),
    (
        uuid!("44479540-f297-41b2-9af7-d131d5f0458a"),
        "Linux root (x86)",
    ),
    (
        uuid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"),
        "Linux root (x86-64)",
    ),
    (
        uuid!("69dad710-2ce4-4e3c-b16c-21a1d49abed3"),
        "Linux root (ARM)",
    ),
    (
        uuid!("b921b045-1df0-41c3-af44-4c6f280d3fae"),
        "Linux root (ARM-64)",
    ),
    (
        uuid!("77055800-792c-4f94-b39a-98c91b762bb6"),
        "Linux root (LoongArch-64)",
    ),
    (
        uuid!("c31c45e6-3f39-412e-80fb-4809c4980599"),
        "Linux root (PPC64LE)",
    ),
    (
        uuid!("72ec70a6-cf74-40e6-bd49-4bda08e8f224"),
        "Linux root (RISC-V-64)",
    ),
    (
        uuid!("5eead9a9-fe09-4a1e-a1d7-520d00531306"),
        "Linux root (S390X)",
    ),
    (
        uuid!("8da63339-0007-60c0-c436-083ac8230908"),
        "Linux reserved",
    ),
    (uuid!("933ac7e1-2eb4-4f13-b844-0e14e2aef915"), "Linux home"),
    (uuid!("a19d880f-05fc-4d3b-a006-743f0f84911e"), "Linux RAID"),
    (uuid!("e6d6d379-f507-44c2-a23c-238f2a3df928"), "Linux LVM"),
    (
        uuid!("4d21b016-b534-45c2-a9fb-5c16e091fd2d"),
        "Linux variable data",
    ),
    (
        uuid!("7ec6f557-3bc5-4aca-b293-16ef5df639d1"),
        "Linux temporary data",
    ),
    (
        uuid!("75250d76-8cc6-458e-bd66-bd47cc81a812"),
        "Linux /usr (x86)",
    ),
    (
        uuid!("8484680c-9521-48c6-9c11-b0720656f69e"),
        "Linux /usr (x86-64)",
    ),
    (
        uuid!("7d0359a3-02b3-4f0a-865c-654403e70625"),
        "Linux /usr (ARM)",
    ),
    (
        uuid!("b0e01050-ee5f-4390-949a-9101b17104e9"),
        "Linux /usr (ARM-64)",
    ),
    (
        uuid!("e611c702-575c-4cbe-9a46-434fa0bf7e3f"),
        "Linux /usr (LoongArch-64)",
    ),
    (
        uuid!("15bb03af-77e7-4d4a-b12b-c0d084f7491c"),
        "Linux /usr (PPC64LE)",
    ),
    (
        uuid!("beaec34b-8442-439b-a40b-984381ed097d"),
        "Linux /usr (RISC-V-64)",
    ),
    (
        uuid!("8a4f5770-50aa-4ed3-874a-99b710db6fea"),
        "Linux /usr (S390X)",
    ),
    (
        uuid!("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5"),
        "Linux root verity (x86-64)",
    ),
    (
        uuid!("df3300ce-d69f-4c92-978c-9bfb0f38d820"),
        "Linux root verity (ARM-64)",
    ),
    (
        uuid!("77ff5f63-e7b6-4633-acf4-1565b864c0e6"),
        "Linux /usr verity (x86-64)",
    ),
    (
        uuid!("6e11a4e7-fbca-4ded-b9e9-e1a512bb664e"),
        "Linux /usr verity (ARM-64)",
    ),
    (
        uuid!("41092b05-9fc8-4523-994f-2def0408b176"),
        "Linux root verity signature (x86-64)",
    ),
    (
        uuid!("6db69de6-29f4-4758-a7a5-962190f00ce3"),
        "Linux root verity signature (ARM-64)",
    ),
    (
        uuid!("e7bb33fb-06cf-4e81-8273-e543b413e2e2"),
        "Linux /usr verity signature (x86-64)",
    ),
    (
        uuid!("c23ce4ff-44bd-4b00-b2d4-b41b3419e02a"),
        "Linux /usr verity signature (ARM-64)",
    ),
    (
        uuid!("bc13c2ff-59e6-4262-a352-b275fd6f7172"),
        "Linux extended boot",
    ),
    (
        uuid!("773f91ef-66d4-49b5-bd83-d683bf40ad16"),
        "Linux user's home",
    ),
    (
        uuid!("516e7cb4-6ecf-11d6-8ff8-00022d09712b"),
        "FreeBSD data",
    ),
    (
        uuid!("83bd6b9d-7f41-11dc-be0b-001560b84f0f"),
        "FreeBSD boot",
    ),
    (
        uuid!("516e7cb5-6ecf-11d6-8ff8-00022d09712b"),
        "FreeBSD swap",
    ),
    (uuid!("516e7cb6-6ecf-11d6-8ff8-00022d09712b"), "FreeBSD UFS"),
    (uuid!("516e7cba-6ecf-11d6-8ff8-00022d09712b"), "FreeBSD ZFS"),
    (
        uuid!("516e7cb8-6ecf-11d6-8ff8-00022d09712b"),
        "FreeBSD Vinum",
    ),
    (
        uuid!("48465300-0000-11aa-aa11-00306543ecac"),
        "Apple HFS/HFS+",
    ),
    (uuid!("7c3457ef-0000-11aa-aa11-00306543ecac"), "Apple APFS"),
    (uuid!("55465300-0000-11aa-aa11-00306543ecac"), "Apple UFS"),
    (uuid!("52414944-0000-11aa-aa11-00306543ecac"), "Apple RAID"),
    (
        uuid!("52414944-5f4f-11aa-aa11-00306543ecac"),
        "Apple RAID offline",
    ),
    (uuid!("426f6f74-0000-11aa-aa11-00306543ecac"), "Apple boot"),
    (uuid!("4c616265-6c00-11aa-aa11-00306543ecac"), "Apple label"),
    (
        uuid!("5265636f-7665-11aa-aa11-00306543ecac"),
        "Apple TV recovery",
    ),
    (
        uuid!("53746f72-6167-11aa-aa11-00306543ecac"),
        "Apple Core storage",
    ),
    (
        uuid!("69646961-6700-11aa-aa11-00306543ecac"),
        "Apple Silicon boot",
    ),
    (
        uuid!("52637672-7900-11aa-aa11-00306543ecac"),
        "Apple Silicon recovery",
    ),
    (
        uuid!("6a82cb45-1dd2-11b2-99a6-080020736631"),
        "Solaris boot",
    ),
    (
        uuid!("6a85cf4d-1dd2-11b2-99a6-080020736631"),
        "Solaris root",
    ),
    (
        uuid!("6a898cc3-1dd2-11b2-99a6-080020736631"),
        "Solaris /usr & Apple ZFS",
    ),
    (
        uuid!("6a87c46f-1dd2-11b2-99a6-080020736631"),
        "Solaris swap",
    ),
    (
        uuid!("6a8b642b-1dd2-11b2-99a6-080020736631"),
        "Solaris backup",
    ),
    (
        uuid!("6a8ef2e9-1dd2-11b2-99a6-080020736631"),
        "Solaris /var",
    ),
    (
        uuid!("6a90ba39-1dd2-11b2-99a6-080020736631"),
        "Solaris /home",
    ),
    (uuid!("49f48d32-b10e-11dc-b99b-0019d1879648"), "NetBSD swap"),
    (uuid!("49f48d5a-b10e-11dc-b99b-0019d1879648"), "NetBSD FFS"),
    (uuid!("49f48d82-b10e-11dc-b99b-0019d1879648"), "NetBSD LFS"),
    (
        uuid!("2db519c4-b10f-11dc-b99b-0019d1879648"),
        "NetBSD concatenated",
    ),
    (
        uuid!("2db519ec-b10f-11dc-b99b-0019d1879648"),
        "NetBSD encrypted",
    ),
    (uuid!("49f48daa-b10e-11dc-b99b-0019d1879648"), "NetBSD RAID"),
    (
        uuid!("fe3a2a5d-4f32-41a7-b725-accc3285a309"),
        "ChromeOS kernel",
    ),
    (
        uuid!("3cb8e202-3b7e-47dd-8a3c-7ff2a13cfcec"),
        "ChromeOS root fs",
    ),
    (
        uuid!("2e0a753d-9e48-43b0-8337-b15192cb1b5e"),
        "ChromeOS reserved",
    ),
    (
        uuid!("45b0969e-9b03-4f30-b4c6-b4b80ceff106"),
        "Ceph Journal",
    ),
    (uuid!("4fbd7e29-9d25-41b8-afd0-062c0ceff05d"), "Ceph OSD"),
    (
        uuid!("89c57f98-2fe5-4dc0-89c1-f3ad0ceff2be"),
        "Ceph disk in creation",
    ),
    (uuid!("aa31e02a-400f-11db-9590-000c2911d1b8"), "VMware VMFS"),
    (
        uuid!("9d275380-40ad-11db-bf97-000c2911d1b8"),
        "VMware Diagnostic",
    ),
    (
        uuid!("381cfccc-7288-11e0-92ee-000c2911d0b2"),
        "VMware Virtual SAN",
    ),
    (
        uuid!("77719a0c-a4a0-11e3-a47e-000c29745a24"),
        "VMware Virsto",
    ),
    (
        uuid!("9198effc-31c0-11db-8f78-000c2911d1b8"),
        "VMware Reserved",
    ),
    (
        uuid!("824cc7a0-36a8-11e3-890a-952519ad3f61"),
        "OpenBSD data",
    ),
    (uuid!("42465331-3ba3-10f1-802a-4861696b7521"), "Haiku BFS"),
    (
        uuid!("2568845d-2332-4675-bc39-8fa5a4748d15"),
        "Android bootloader",
    ),
    (
        uuid!("114eaffe-1552-4022-b26e-9b053604cf84"),
        "Android bootloader 2",
    ),
    (
        uuid!("49a4d17f-93a3-45c1-a0de-f50b2ebe2599"),
        "Android boot",
    ),
    (
        uuid!("4177c722-9e92-4aab-8644-43502bfd5506"),
        "Android recovery",
    ),
    (
        uuid!("ef32a33b-a409-486c-9141-9ffb711f6266"),
        "Android misc",
    ),
    (
        uuid!("20ac26be-20b7-11e3-84c5-6cfdb94711e9"),
        "Android metadata",
    ),
    (
        uuid!("38f428e6-d326-425d-9140-6e0ea133647c"),
        "Android system",
    ),
    (
        uuid!("a893ef21-e428-470a-9e55-0668fd91a2d9"),
        "Android cache",
    ),
    (
        uuid!("dc76dda9-5ac1-491c-af42-a82591580c0d"),
        "Android data",
    ),
    (uuid!("ca7d7ccb-63ed-4c53-861c-1742536059cc"), "Linux LUKS"),
];

pub(super) const MBR: &[(u8, &str)] = &[
    (0x00, "Empty"),
    (0x01, "FAT12"),
    (0x02, "XENIX root"),
    (0x03, "XENIX usr"),
    (0x04, "FAT16 <32M"),
    (0x05, "Extended"),
    (0x06, "FAT16"),
    (0x07, "HPFS/NTFS/exFAT"),
    (0x08, "AIX"),
    (0x09, "AIX bootable"),
    (0x0a, "OS/2 Boot Manager"),
    (0x0b, "FAT32"),
    (0x0c, "FAT32 (LBA)"),
    (0x0e, "FAT16 (LBA)"),
    (0x0f, "Extended (LBA)"),
    (0x10, "OPUS"),
    (0x11, "Hidden FAT12"),
    (0x12, "Compaq diagnostics"),
    (0x14, "Hidden FAT16 <32M"),
    (0x16, "Hidden FAT16"),
    (0x17, "Hidden HPFS/NTFS"),
    (0x18, "AST SmartSleep"),
    (0x1b, "Hidden FAT32"),
    (0x1c, "Hidden FAT32 (LBA)"),
    (0x1e, "Hidden FAT16 (LBA)"),
    (0x27, "Hidden NTFS WinRE"),
    (0x39, "Plan 9"),
    (0x3c, "PartitionMagic recovery"),
    (0x40, "Venix 80286"),
    (0x41, "PPC PReP Boot"),
    (0x42, "SFS"),
    (0x4d, "QNX4.x"),
    (0x4e, "QNX4.x 2nd part"),
    (0x4f, "QNX4.x 3rd part"),
    (0x50, "OnTrack DM"),
    (0x51, "OnTrack DM6 Aux1"),
    (0x53, "OnTrack DM6 Aux3"),
    (0x54, "OnTrackDM6"),
    (0x55, "EZ-Drive"),
    (0x63, "GNU Hurd or SysV"),
    (0x80, "Old Minix"),
    (0x81, "Minix / old Linux"),
    (0x82, "Linux swap or Solaris"),
    (0x83, "Linux"),
    (0x84, "OS/2 hidden or Intel hibernation"),
    (0x85, "Linux extended"),
    (0x86, "NTFS volume set"),
    (0x87, "NTFS volume set"),
    (0x88, "Linux plaintext"),
    (0x8e, "Linux LVM"),
    (0x9f, "BSD/OS"),
    (0xa0, "IBM Thinkpad hibernation"),
    (0xa5, "FreeBSD"),
    (0xa6, "OpenBSD"),
    (0xa7, "NeXTSTEP"),
    (0xa8, "Darwin UFS"),
    (0xa9, "NetBSD"),
    (0xab, "Darwin boot"),
    (0xaf, "HFS / HFS+"),
    (0xb7, "BSDI fs"),
    (0xb8, "BSDI swap"),
    (0xbb, "Boot Wizard hidden"),
    (0xbc, "Acronis FAT32 LBA"),
    (0xbe, "Solaris boot"),
    (0xbf, "Solaris"),
    (0xc1, "DRDOS/sec (FAT-12)"),
    (0xc4, "DRDOS/sec (FAT-16 < 32M)"),
    (0xc6, "DRDOS/sec (FAT-16)"),
    (0xda, "Non-FS data"),
    (0xde, "Dell Utility"),
    (0xdf, "BootIt"),
    (0xea, "Linux extended boot"),
    (0xeb, "BeOS fs"),
    (0xee, "GPT protective"),
    (0xef, "EFI System"),
    (0xf0, "Linux/PA-RISC boot"),
    (0xf2, "DOS secondary"),
    (0xf8, "EBBR protective"),
    (0xfb, "VMware VMFS"),
    (0xfc, "VMware VMKCORE"),
    (0xfd, "Linux RAID autodetect"),
    (0xff, "XENIX bad block table"),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_names_said_once() {
        let guids: HashSet<_> = GPT.iter().map(|(guid, _)| guid).collect();
        assert_eq!(guids.len(), GPT.len());
        let names: HashSet<_> = GPT.iter().map(|(_, name)| name).collect();
        assert_eq!(names.len(), GPT.len());
        let codes: HashSet<_> = MBR.iter().map(|(code, _)| code).collect();
        assert_eq!(codes.len(), MBR.len());
        assert_eq!(mbr_name(0x83), Some("Linux"));
        assert_eq!(mbr_name(0x77), None);
    }
}
