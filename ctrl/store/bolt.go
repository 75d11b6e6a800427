package store

import (
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

// openBolt opens or makes the file at path.
func openBolt(path string) (Store, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		return nil, fmt.Errorf("store: %s: %w", path, err)
	}
	return &bolt{memory: newMemory(), db: db}, nil
}

type bolt struct {
	*memory
	db *bbolt.DB
}
