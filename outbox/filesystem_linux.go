package outbox

import "golang.org/x/sys/unix"

// fileSystems are the names of those that people meet, by the magic number of statfs(2).
var fileSystems = map[uint32]string{
	unix.V9FS_MAGIC:            "9p",
	unix.BTRFS_SUPER_MAGIC:     "btrfs",
	unix.CIFS_SUPER_MAGIC:      "CIFS",
	unix.EXFAT_SUPER_MAGIC:     "exFAT",
	unix.EXT4_SUPER_MAGIC:      "ext4",
	unix.FUSE_SUPER_MAGIC:      "FUSE",
	unix.MSDOS_SUPER_MAGIC:     "FAT",
	unix.NFS_SUPER_MAGIC:       "NFS",
	unix.OVERLAYFS_SUPER_MAGIC: "overlayfs",
	unix.SMB2_SUPER_MAGIC:      "SMB",
	unix.SQUASHFS_MAGIC:        "squashfs",
	unix.TMPFS_MAGIC:           "tmpfs",
	unix.XFS_SUPER_MAGIC:       "XFS",
}

// fileSystem is ", NAME" for the file system of a path that is known, or "".
func fileSystem(path string) string {
	var s unix.Statfs_t
	if unix.Statfs(path, &s) != nil {
		return ""
	}
	if name := fileSystems[uint32(s.Type)]; name != "" {
		return ", " + name
	}
	return ""
}
