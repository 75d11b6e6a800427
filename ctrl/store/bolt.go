package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"paca/dataplane/policy"
)

// bolt keeps policy in one bbolt file: one bucket, in which each object has its
// Key, and the head has a key before all of them. A commit is one transaction,
// on disk before it is acknowledged.
//
// bbolt checks its meta pages alone, and trusts the rest so far that a damaged
// file ends the process or, through a damaged list of free pages, ends other
// policy. So the file is judged before bbolt sees it (verify), the list of free
// pages is not kept but found anew, and the head has the sum of everything.
type bolt struct {
	history
	path string

	mu     sync.Mutex // one Commit at a time, and no Close within
	db     *bbolt.DB
	head   head
	broken error // a commit whose outcome is unknown
}

var (
	bucket  = []byte("policy")
	headKey = []byte{0} // no Kind is 0
)

// head says what the objects are, so that none is lost unnoticed. Its first
// four bytes stay the format in every release.
type head struct {
	format   uint32
	revision Revision
	objects  uint64
	sum      uint64 // of checksum over objects
}

const headSize = 4 + 3*8

func (h *head) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, h.format)
	b = binary.BigEndian.AppendUint64(b, uint64(h.revision))
	b = binary.BigEndian.AppendUint64(b, h.objects)
	return binary.BigEndian.AppendUint64(b, h.sum)
}

func (h *head) decode(b []byte) error {
	if len(b) >= 4 {
		h.format = binary.BigEndian.Uint32(b)
	}
	switch {
	case h.format > policy.Format:
		return fmt.Errorf("format %d, this release reads up to %d: %w", h.format, policy.Format, ErrNewer)
	case h.format == 0 || len(b) != headSize:
		return fmt.Errorf("no policy of paca: %w", ErrCorrupt)
	}
	h.revision = Revision(binary.BigEndian.Uint64(b[4:]))
	h.objects = binary.BigEndian.Uint64(b[12:])
	h.sum = binary.BigEndian.Uint64(b[20:])
	return nil
}

func (h *head) add(key, value []byte) {
	h.objects++
	h.sum += checksum(key, value)
}

func (h *head) remove(key, value []byte) {
	h.objects--
	h.sum -= checksum(key, value)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key, value []byte) uint64 {
	c := crc32.Update(uint32(len(key)), castagnoli, key)
	return uint64(crc32.Update(c, castagnoli, value))
}

// openBolt opens the file at path, and makes one if there is none.
func openBolt(path string) (Store, error) {
	b, err := open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = create(path); err == nil {
			b, err = open(path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("store: %s: %w", path, err)
	}
	return b, nil
}

func options() *bbolt.Options {
	return &bbolt.Options{
		Timeout:        10 * time.Millisecond, // one try: the lock is free, or ours
		NoFreelistSync: true,
		FreelistType:   bbolt.FreelistMapType,
		NoStatistics:   true,
	}
}

func open(path string) (*bolt, error) {
	b := &bolt{path: path, history: history{more: make(chan struct{})}}
	o := options()
	// bbolt gets the file once it is locked and found whole, and locks the same
	// again.
	o.OpenFile = func(path string, _ int, _ os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err == nil {
			if err = lock(f); err == nil {
				b.head, err = verify(f)
			}
			if err != nil {
				f.Close()
				return nil, err
			}
		}
		return f, err
	}
	var err error
	if b.db, err = bbolt.Open(path, 0, o); err != nil {
		return nil, err
	}
	b.last = b.head.revision
	return b, nil
}

func lock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == syscall.EWOULDBLOCK {
		return ErrLocked
	}
	return err
}

// create makes a file without policy. It has its name when it is whole: a file
// of that name that is not, is damaged.
func create(path string) error {
	unborn := path + ".new"
	if err := os.Remove(unborn); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := bbolt.Open(unborn, 0o600, options())
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		in, err := tx.CreateBucket(bucket)
		if err != nil {
			return err
		}
		return in.Put(headKey, (&head{format: policy.Format}).append(nil))
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	// Not over the file of a process that was quicker.
	if err := os.Link(unborn, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Remove(unborn); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (b *bolt) Load() (Revision, iter.Seq2[policy.Object, error]) {
	return b.revision(), func(yield func(policy.Object, error) bool) {
		err := b.db.View(func(tx *bbolt.Tx) error {
			c := tx.Bucket(bucket).Cursor()
			c.First() // the head
			for k, v := c.Next(); k != nil; k, v = c.Next() {
				o, err := policy.DecodeObject(policy.Key(k), v)
				if err != nil {
					return fmt.Errorf("%w: %w", err, ErrCorrupt)
				}
				if !yield(o, nil) {
					return nil
				}
			}
			unmap(b.db, tx)
			return nil
		})
		if err != nil {
			yield(nil, fmt.Errorf("store: %s: %w", b.path, err))
		}
	}
}

// unmap has the kernel keep what it read of the file for itself: it need not count as
// memory of this process, which will read little of it again.
func unmap(db *bbolt.DB, tx *bbolt.Tx) {
	_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, db.Info().Data, uintptr(tx.Size()), syscall.MADV_DONTNEED)
}

func (b *bolt) Commit(sets [][]policy.Change) (Revision, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.isClosed() {
		return 0, fmt.Errorf("store: %s: %w", b.path, ErrClosed)
	}
	if b.broken != nil {
		return 0, b.broken
	}
	next := b.head
	next.format = policy.Format
	next.revision += Revision(len(sets))
	if err := b.write(&next, sets); err != nil {
		err = fmt.Errorf("store: %s: %w", b.path, err)
		if b.readHead() != b.head {
			// It is in the file, but whether it stays there, nobody knows.
			b.broken = fmt.Errorf("%w; only a restart tells whether it was kept", err)
			err = b.broken
		}
		return 0, err
	}
	b.head = next
	return b.append(sets), nil
}

// write commits sets to the file, and completes next.
func (b *bolt) write(next *head, sets [][]policy.Change) error {
	return b.db.Update(func(tx *bbolt.Tx) error {
		in := tx.Bucket(bucket)
		for _, set := range sets {
			for _, c := range set {
				key := []byte(c.Object.Key())
				old := in.Get(key)
				if old != nil {
					next.remove(key, old)
				}
				if c.Verb == policy.Delete {
					if err := in.Delete(key); err != nil {
						return err
					}
					continue
				}
				value := policy.AppendObject(nil, c.Object)
				if bytes.Equal(old, value) {
					next.add(key, value)
					continue
				}
				if err := in.Put(key, value); err != nil {
					return err
				}
				next.add(key, value)
			}
		}
		return in.Put(headKey, next.append(nil))
	})
}

// readHead is the head in the file; zero if it cannot be read.
func (b *bolt) readHead() (h head) {
	b.db.View(func(tx *bbolt.Tx) error { return h.decode(tx.Bucket(bucket).Get(headKey)) })
	return h
}

func (b *bolt) Watch(ctx context.Context, after Revision) (iter.Seq2[Event, error], error) {
	return b.watch(ctx, after)
}

func (b *bolt) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.close()
	return b.db.Close()
}
