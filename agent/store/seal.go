package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Credentials are a user name and password for a file server.
type Credentials struct {
	Username string `json:"u,omitempty"`
	Password string `json:"p,omitempty"`
}

// Sealer encrypts credentials at rest with AES-256-GCM. The key lies beside the state, readable by its owner only: it
// guards copies and backups of state.db, not against the owner of the state directory.
type Sealer struct{ aead cipher.AEAD }

// OpenSealer reads the key file at path, or makes it.
func OpenSealer(path string) (*Sealer, error) {
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = makeKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the key of the credentials: %w", err)
	}
	if len(key) != 32 {
		return nil, fmt.Errorf("cannot use the key of the credentials: %s has %d bytes, not 32", path, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("cannot use the key of the credentials: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("cannot use the key of the credentials: %w", err)
	}
	return &Sealer{aead}, nil
}

func makeKey(path string) (key []byte, err error) {
	key = make([]byte, 32)
	rand.Read(key)
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(key)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp, path); err != nil {
		return nil, err
	}
	return key, SyncDir(filepath.Dir(path))
}

// Seal encrypts c; empty credentials give nil.
func (s *Sealer) Seal(c Credentials) ([]byte, error) {
	if c == (Credentials{}) {
		return nil, nil
	}
	plain, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("cannot seal credentials: %w", err)
	}
	nonce := make([]byte, s.aead.NonceSize())
	rand.Read(nonce)
	return append([]byte{recordVersion}, s.aead.Seal(nonce, nonce, plain, nil)...), nil
}

// Open decrypts what Seal returned.
func (s *Sealer) Open(sealed []byte) (c Credentials, err error) {
	if len(sealed) == 0 {
		return c, nil
	}
	n := s.aead.NonceSize()
	if sealed[0] != recordVersion || len(sealed) < 1+n {
		return c, errors.New("cannot open the stored credentials: unknown form")
	}
	plain, err := s.aead.Open(nil, sealed[1:1+n], sealed[1+n:], nil)
	if err != nil {
		return c, errors.New("cannot open the stored credentials: the key does not fit")
	}
	if err := json.Unmarshal(plain, &c); err != nil {
		return c, errors.New("cannot open the stored credentials: unknown form")
	}
	return c, nil
}
