package osgi

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/smmd-project/smmd/plugins/adapter"
)

const (
	manifestName = "META-INF/MANIFEST.MF"
	// defaultLocalization is the base name of the localization files (OSGi Core 3.11.1).
	defaultLocalization = "OSGI-INF/l10n/bundle"
	// maxUnpacked bounds what a bundle may unpack to, in bytes: reading all of it must end.
	maxUnpacked = 1 << 30
	// maxLocalization bounds a localization file, in bytes.
	maxLocalization = 1 << 20
)

// inspectBundle reads what a bundle says of itself. It reads every member to its end, so that a truncated or altered file is
// found by its checksums before a framework sees it.
func inspectBundle(ctx context.Context, path string) (adapter.Manifest, error) {
	var none adapter.Manifest
	bundle := filepath.Base(path) // what is said here reaches servers, which have no use for our directories
	corrupt := func(err error) (adapter.Manifest, error) {
		err = placeless(err)
		return none, &adapter.Error{Reason: adapter.Corrupt, Message: fmt.Sprintf("cannot read bundle %s: %v", bundle, err), Cause: err.Error()}
	}
	file, err := os.Open(path)
	if err != nil {
		return none, adapter.Errorf(adapter.Internal, "cannot read bundle %s: %v", bundle, placeless(err))
	}
	defer func() { _ = file.Close() }() // nothing was written
	info, err := file.Stat()
	if err != nil {
		return none, adapter.Errorf(adapter.Internal, "cannot read bundle %s: %v", bundle, placeless(err))
	}
	jar, err := zip.NewReader(file, info.Size())
	if err != nil && foreign(file) {
		return none, adapter.Errorf(adapter.Mismatch, "cannot use %s: it is a package of another kind and no bundle", bundle)
	}
	if err != nil {
		return corrupt(err)
	}

	var raw []byte
	var manifests int
	left := int64(maxUnpacked)
	for _, member := range jar.File {
		keep := int64(0)
		if strings.EqualFold(member.Name, manifestName) {
			keep = maxManifest + 1
			manifests++
		}
		data, size, err := readMember(ctx, member, keep, left)
		switch {
		case ctx.Err() != nil:
			return none, fmt.Errorf("cannot read bundle %s: %w", bundle, ctx.Err())
		case errors.Is(err, errTooLarge):
			return none, adapter.Errorf(adapter.NoResources, "cannot read bundle %s: it unpacks to more than %d MiB", bundle, maxUnpacked>>20)
		case err != nil:
			return corrupt(fmt.Errorf("%s: %w", member.Name, err))
		}
		left -= size
		if keep > 0 {
			raw = data
		}
	}
	if manifests > 1 {
		return corrupt(fmt.Errorf("it has %d manifests", manifests))
	}
	if len(jar.File) == 0 || manifests == 0 {
		return none, adapter.Errorf(adapter.Mismatch, "cannot use %s as a bundle: it has no manifest", bundle)
	}
	headers, err := parseManifest(raw)
	if err != nil {
		return corrupt(err)
	}
	name, err := symbolicName(headers["bundle-symbolicname"])
	if err != nil {
		return corrupt(err)
	}
	if name == "" {
		return none, adapter.Errorf(adapter.Mismatch, "cannot use %s as a bundle: its manifest has no Bundle-SymbolicName", bundle)
	}
	version, err := normalVersion(headers["bundle-version"])
	if err != nil {
		return corrupt(err)
	}
	translate, err := localizer(ctx, jar, headers)
	if err != nil {
		return corrupt(err)
	}
	return adapter.Manifest{
		Name:        name,
		Version:     version,
		Vendor:      translate(headers["bundle-vendor"]),
		Description: translate(headers["bundle-description"]),
	}, nil
}

// placeless returns an error without the path of the file that it is about.
func placeless(err error) error {
	if at := (*fs.PathError)(nil); errors.As(err, &at) {
		return at.Err
	}
	return err
}

var errTooLarge = errors.New("too large")

// readMember reads a member to its end, which checks its CRC, and returns its first keep bytes and its size.
func readMember(ctx context.Context, member *zip.File, keep, limit int64) ([]byte, int64, error) {
	if member.Flags&1 != 0 {
		return nil, 0, errors.New("it is encrypted")
	}
	reader, err := member.Open()
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = reader.Close() }() // nothing was written
	bounded := io.LimitReader(contextReader{ctx, reader}, limit+1)
	data, err := io.ReadAll(io.LimitReader(bounded, keep))
	if err != nil {
		return nil, 0, err
	}
	rest, err := io.Copy(io.Discard, bounded)
	if err != nil {
		return nil, 0, err
	}
	size := int64(len(data)) + rest
	if size > limit {
		return nil, 0, errTooLarge
	}
	return data, size, nil
}

// contextReader ends reading when its context is done.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// trim is Java's String.trim, with which the host tells headers: what is found must be called as what is installed.
func trim(s string) string { return strings.TrimFunc(s, func(r rune) bool { return r <= ' ' }) }

// localizer returns the translation of header values that start with '%' by the bundle's default localization file. A key
// without a translation is its own value (OSGi Core 3.11.2).
func localizer(ctx context.Context, jar *zip.Reader, headers map[string]string) (func(string) string, error) {
	base := trim(headers["bundle-localization"])
	if base == "" {
		base = defaultLocalization
	}
	var properties map[string]string
	for _, member := range jar.File {
		if member.Name != base+".properties" {
			continue
		}
		data, size, err := readMember(ctx, member, maxLocalization, maxUnpacked)
		if err != nil {
			return nil, err
		}
		if size > maxLocalization {
			return nil, fmt.Errorf("%s has more than %d bytes", member.Name, maxLocalization)
		}
		properties = parseProperties(data)
		break
	}
	return func(value string) string {
		value = trim(value)
		key, localized := strings.CutPrefix(value, "%")
		if !localized {
			return value
		}
		if text, ok := properties[key]; ok {
			return trim(text)
		}
		return key
	}, nil
}

// mainClass returns the Main-Class of an executable jar.
func mainClass(path string) (string, error) {
	jar, err := zip.OpenReader(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = jar.Close() }() // nothing was written
	for _, member := range jar.File {
		if !strings.EqualFold(member.Name, manifestName) {
			continue
		}
		data, _, err := readMember(context.Background(), member, maxManifest, maxManifest)
		if err != nil {
			return "", err
		}
		headers, err := parseManifest(data)
		if err != nil {
			return "", err
		}
		if class := headers["main-class"]; class != "" {
			return class, nil
		}
	}
	return "", errors.New("its manifest has no Main-Class")
}
