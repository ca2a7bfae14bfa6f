package lxc

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/rootfs"
)

// image is an OCI image in an archive.
type image struct {
	archive     *archive
	config      *v1.ConfigFile
	layers      []layer // the lowest first
	annotations map[string]string
	tag         string // what the archive calls the image, empty when it does not
	id          string // the digest of the configuration, in hexadecimal
}

// layer is one layer of an image.
type layer struct {
	name   string // of the member
	digest string // SHA-256 of the member in hexadecimal, empty when the archive does not tell
	diffID string // the same of its content without compression
	size   int64  // of the member, -1 when the archive does not tell
}

// openImage opens the image of this device's platform. tmp is a directory for what has to be unpacked meanwhile.
func openImage(ctx context.Context, p, tmp string, limit int64) (*image, error) {
	a, err := openArchive(ctx, p, tmp, limit)
	if errors.Is(err, errNoTar) {
		err = adapter.Errorf(adapter.Corrupt, "cannot read the package: %v", err)
	}
	if err != nil {
		return nil, err
	}
	img := &image{archive: a}
	if a.has("index.json") {
		err = img.readLayout(ctx)
	} else {
		err = img.readDocker()
	}
	if err == nil && len(img.layers) != len(img.config.RootFS.DiffIDs) {
		err = adapter.Errorf(adapter.Corrupt, "cannot read the image: it has %d layers, its configuration names %d", len(img.layers), len(img.config.RootFS.DiffIDs))
	}
	if err != nil {
		a.close()
		return nil, err
	}
	for i, id := range img.config.RootFS.DiffIDs {
		img.layers[i].diffID = id.Hex
	}
	return img, nil
}

func (img *image) close() { img.archive.close() }

// blob returns the name of a member of a layout, which is that of its digest (OCI image layout, Blobs).
func blob(h v1.Hash) (string, error) {
	if h.Algorithm != "sha256" {
		return "", adapter.Errorf(adapter.Corrupt, "cannot read the image: digest %q is not SHA-256", h)
	}
	return path.Join("blobs", h.Algorithm, h.Hex), nil
}

// checked returns the document that a descriptor names and checks that it is the one.
func (img *image) checked(d v1.Descriptor) ([]byte, error) {
	name, err := blob(d.Digest)
	if err != nil {
		return nil, err
	}
	data, err := img.archive.document(name)
	if err != nil {
		return nil, err
	}
	if digestOf(data) != d.Digest.Hex || int64(len(data)) != d.Size {
		return nil, adapter.Errorf(adapter.Corrupt, "cannot read the image: file %q is not what its digest says", name)
	}
	return data, nil
}

// The annotations by which an index names an image: whole, as the agent, containerd and docker save write it, and by its tag alone or in some other
// way (OCI image specification, Annotations).
const (
	fullName = "io.containerd.image.name"
	refName  = "org.opencontainers.image.ref.name"
)

// readLayout follows the index of a layout to the image of this platform.
func (img *image) readLayout(ctx context.Context) error {
	data, err := img.archive.document("index.json")
	if err != nil {
		return err
	}
	annotations := map[string]string{}
	// An index may name indexes; four levels are more than anybody has.
	for range 4 {
		index, err := v1.ParseIndexManifest(bytes.NewReader(data))
		if err != nil {
			return adapter.Errorf(adapter.Corrupt, "cannot read the image: index: %v", err)
		}
		maps.Copy(annotations, index.Annotations)
		d, err := choose(index.Manifests)
		if err != nil {
			return err
		}
		maps.Copy(annotations, d.Annotations)
		if data, err = img.checked(d); err != nil {
			return err
		}
		if d.MediaType == types.OCIImageIndex || d.MediaType == types.DockerManifestList {
			continue
		}
		manifest, err := v1.ParseManifest(bytes.NewReader(data))
		if err != nil {
			return adapter.Errorf(adapter.Corrupt, "cannot read the image: manifest: %v", err)
		}
		if !manifest.Config.MediaType.IsConfig() {
			return adapter.Errorf(adapter.Mismatch, "cannot use the package: it is an OCI artifact of type %q and no image", manifest.Config.MediaType)
		}
		maps.Copy(annotations, manifest.Annotations)
		img.annotations, img.tag = annotations, cmp.Or(annotations[fullName], annotations[refName])
		return img.readManifest(ctx, manifest)
	}
	return adapter.Errorf(adapter.Corrupt, "cannot read the image: its indexes name each other without end")
}

func (img *image) readManifest(ctx context.Context, manifest *v1.Manifest) error {
	data, err := img.checked(manifest.Config)
	if err != nil {
		return err
	}
	if err := img.readConfig(data); err != nil {
		return err
	}
	for _, d := range manifest.Layers {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("cannot read the image: %w", err)
		}
		if !d.MediaType.IsLayer() || !d.MediaType.IsDistributable() {
			return adapter.Errorf(adapter.Mismatch, "cannot use the package: it has a layer of type %q", d.MediaType)
		}
		name, err := blob(d.Digest)
		if err != nil {
			return err
		}
		img.layers = append(img.layers, layer{name: name, digest: d.Digest.Hex, size: d.Size})
	}
	return nil
}

func (img *image) readConfig(data []byte) error {
	config, err := v1.ParseConfigFile(bytes.NewReader(data))
	if err != nil {
		return adapter.Errorf(adapter.Corrupt, "cannot read the image: configuration: %v", err)
	}
	img.config, img.id = config, digestOf(data)
	return nil
}

// readDocker reads what docker save writes: manifest.json names configuration and layers.
func (img *image) readDocker() error {
	data, err := img.archive.document("manifest.json")
	if err != nil {
		return err
	}
	var images []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(data, &images); err != nil {
		return adapter.Errorf(adapter.Corrupt, "cannot read the image: manifest.json: %v", err)
	}
	if len(images) != 1 {
		return adapter.Errorf(adapter.Corrupt, "cannot use the package: it has %d images, and one is a deployment unit", len(images))
	}
	if data, err = img.archive.document(images[0].Config); err != nil {
		return err
	}
	// The file is named by its digest.
	if want := strings.TrimSuffix(path.Base(images[0].Config), ".json"); len(want) == 64 && digestOf(data) != want {
		return adapter.Errorf(adapter.Corrupt, "cannot read the image: file %q is not what its digest says", images[0].Config)
	}
	if err := img.readConfig(data); err != nil {
		return err
	}
	if len(images[0].RepoTags) > 0 {
		img.tag = images[0].RepoTags[0]
	}
	for _, name := range images[0].Layers {
		img.layers = append(img.layers, layer{name: name, size: -1})
	}
	return nil
}

// choose returns the descriptor of this platform. Where none names a platform the first one is taken; what cannot run here is found out with the configuration
// of the image, so that a single image of another platform can be told from a damaged package.
func choose(all []v1.Descriptor) (v1.Descriptor, error) {
	candidates := slices.DeleteFunc(slices.Clone(all), func(d v1.Descriptor) bool {
		// What builders add about an image lies beside it.
		return d.Platform != nil && d.Platform.OS == "unknown" || !d.MediaType.IsImage() && !d.MediaType.IsIndex() && d.MediaType != ""
	})
	if len(candidates) == 0 {
		return v1.Descriptor{}, adapter.Errorf(adapter.Mismatch, "cannot use the package: there is no image in it")
	}
	best := slices.MinFunc(candidates, func(a, b v1.Descriptor) int { return cmp.Compare(distance(a.Platform), distance(b.Platform)) })
	return best, nil
}

// distance says how well a platform fits this device, 0 best.
func distance(p *v1.Platform) int {
	switch {
	case p == nil || p.Architecture == "":
		return 10
	case p.OS != "linux" && p.OS != "":
		return 100
	}
	i := slices.IndexFunc(platforms(), func(have platform) bool { return have.runs(p.Architecture, p.Variant) })
	if i < 0 {
		return 50
	}
	return i
}

// scan reads all layers: digests, sizes, and what must not be in them.
func (img *image) scan(ctx context.Context, o rootfs.Options) error {
	return img.each(ctx, o, rootfs.ScanLayer)
}

// apply puts the tree of the image into dir.
func (img *image) apply(ctx context.Context, dir string, o rootfs.Options) error {
	return img.each(ctx, o, func(ctx context.Context, r io.Reader, o rootfs.Options) (rootfs.Usage, error) {
		return rootfs.Apply(ctx, r, dir, o)
	})
}

// each calls read with the layers without compression, the lowest first, and checks their digests.
func (img *image) each(ctx context.Context, o rootfs.Options, read func(context.Context, io.Reader, rootfs.Options) (rootfs.Usage, error)) error {
	for i, l := range img.layers {
		member, err := img.archive.open(l.name)
		if err != nil {
			return err
		}
		if l.size >= 0 && member.Size() != l.size {
			return adapter.Errorf(adapter.Corrupt, "cannot read the image: layer %d has %d bytes, its manifest says %d", i+1, member.Size(), l.size)
		}
		packed := newDigested(member)
		in, err := rootfs.Decompress(packed)
		if err != nil {
			return err
		}
		plain := newDigested(in)
		used, err := read(ctx, plain, o)
		in.Close()
		if err != nil {
			return err
		}
		// A decoder may leave what is behind its end.
		if _, err := io.Copy(io.Discard, packed); err != nil {
			return fmt.Errorf("cannot read the image: %w", err)
		}
		if l.digest != "" && packed.hex() != l.digest || plain.hex() != l.diffID {
			return adapter.Errorf(adapter.Corrupt, "cannot read the image: layer %d is not what its digest says", i+1)
		}
		o.Used = o.Used.Add(used)
	}
	return nil
}

// manifest is what the image says of itself: by annotations (OCI image specification, Annotations), else by labels of the same names, else by those
// of the older label schema, else by its tag. Most images of registries say nothing of the kind: what has no name or version is told from others by the beginning of its digest.
func (img *image) manifest() adapter.Manifest {
	first := func(names ...string) string {
		for _, name := range names {
			for _, from := range []map[string]string{img.annotations, img.config.Config.Labels} {
				if v := strings.TrimSpace(from[name]); v != "" {
					return v
				}
			}
		}
		return ""
	}
	name, tag := splitTag(img.tag)
	return adapter.Manifest{
		Name:        cmp.Or(first("org.opencontainers.image.title", "org.label-schema.name"), name, "image-"+img.id[:12]),
		Vendor:      first("org.opencontainers.image.vendor", "org.label-schema.vendor"),
		Version:     cmp.Or(first("org.opencontainers.image.version", "org.label-schema.version"), tag, img.id[:12]),
		Description: first("org.opencontainers.image.description", "org.label-schema.description"),
	}
}

// splitTag splits a reference such as registry.example/team/app:1.2 into the last part of its name and its tag. A tag alone, as
// tools write it into an index, is one; latest is none, for it is another image every other day.
func splitTag(ref string) (name, tag string) {
	ref, _, _ = strings.Cut(ref, "@")
	repository, tag, ok := strings.Cut(path.Base(ref), ":")
	switch {
	case ref == "":
		return "", ""
	case !ok && !strings.Contains(ref, "/"):
		repository, tag = "", ref
	}
	if tag == "latest" {
		tag = ""
	}
	return repository, tag
}
