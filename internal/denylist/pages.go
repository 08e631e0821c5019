package denylist

import (
	"encoding/binary"
	"fmt"
	"io"

	bolt "go.etcd.io/bbolt"
)

// The layout of bbolt's pages, which has not changed since its first version.
const (
	pageHeader   = 16 // id u64, flags u16, count u16, overflow u32
	pageElement  = 16 // branch: pos, ksize u32, page u64; leaf: flags, pos, ksize, vsize u32
	branchPage   = 1
	leafPage     = 2
	bucketValue  = 1
	bucketHeader = 16 // root page u64, sequence u64; root 0: the page follows
)

// pageWalk visits each page that is reachable from the root bucket, by reading
// the file. bbolt itself would follow a damaged page in a circle for ever, or
// until the stack is used up, neither of which can be recovered from.
type pageWalk struct {
	file    io.ReaderAt
	size    int64
	pages   uint64
	visited map[uint64]bool
}

func checkPages(tx *bolt.Tx, file io.ReaderAt) error {
	size := int64(tx.DB().Info().PageSize)
	w := &pageWalk{file, size, uint64(tx.Size() / size), map[uint64]bool{0: true, 1: true}}
	return w.walk(uint64(tx.Cursor().Bucket().Root()), 0)
}

func (w *pageWalk) walk(id uint64, depth int) error {
	if depth > 64 {
		return fmt.Errorf("page %d is too deep", id)
	}
	page, err := w.read(id)
	if err != nil {
		return err
	}
	flags, count := binary.NativeEndian.Uint16(page[8:]), int(binary.NativeEndian.Uint16(page[10:]))
	if flags != branchPage && flags != leafPage || pageHeader+count*pageElement > len(page) {
		return fmt.Errorf("page %d is neither branch nor leaf", id)
	}
	for i := range count {
		at := pageHeader + i*pageElement
		if err := w.element(page[at:], flags, depth); err != nil {
			return fmt.Errorf("page %d: %w", id, err)
		}
	}
	return nil
}

// element checks that what the element at the start of b points to is within
// the page, and walks on to the page that it names.
func (w *pageWalk) element(b []byte, flags uint16, depth int) error {
	u32 := func(i int) uint64 { return uint64(binary.NativeEndian.Uint32(b[4*i:])) }
	if flags == branchPage {
		if u32(0)+u32(1) > uint64(len(b)) {
			return fmt.Errorf("key outside the page")
		}
		return w.walk(binary.NativeEndian.Uint64(b[8:]), depth+1)
	}
	kind, pos, key, value := u32(0), u32(1), u32(2), u32(3)
	if kind > bucketValue || pos+key+value > uint64(len(b)) {
		return fmt.Errorf("value outside the page")
	}
	if kind != bucketValue {
		return nil
	}
	if value < bucketHeader {
		return fmt.Errorf("bucket without a header")
	}
	if root := binary.NativeEndian.Uint64(b[pos+key:]); root != 0 {
		return w.walk(root, depth+1)
	}
	return nil
}

// read reads a page and those that continue it, each of which may be part of
// the tree once only.
func (w *pageWalk) read(id uint64) ([]byte, error) {
	header := make([]byte, pageHeader)
	if id >= w.pages {
		return nil, fmt.Errorf("page %d is beyond the end", id)
	}
	if _, err := w.file.ReadAt(header, int64(id)*w.size); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	more := uint64(binary.NativeEndian.Uint32(header[12:]))
	if binary.NativeEndian.Uint64(header) != id || more >= w.pages-id {
		return nil, fmt.Errorf("page %d has another's header", id)
	}
	for p := id; p <= id+more; p++ {
		if w.visited[p] {
			return nil, fmt.Errorf("page %d is used twice", p)
		}
		w.visited[p] = true
	}
	page := make([]byte, int64(more+1)*w.size)
	_, err := w.file.ReadAt(page, int64(id)*w.size)
	return page, err
}
