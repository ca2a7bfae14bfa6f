package packages

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/agent/fault"
)

// imageName is the annotation by which the index of a layout says what its image is called; that of containerd and of docker save.
const imageName = "io.containerd.image.name"

// pull fills the part file with an OCI image layout as one tar archive, an oci-archive: the image for this device, with its manifest as
// the registry has it, and the name of its repository for images that do not say what they are. The same image of a repository gives the same bytes, by
// whatever tag or digest it was asked for.
//
// A pull that goes on with what an earlier one left has the blobs that came whole; the one that was cut off comes anew.
func (t *transfer) pull(ctx context.Context) error {
	ref, err := parseImage(t.url)
	if err != nil {
		return err
	}
	st, earlier, err := t.part.loadState()
	if err != nil {
		return err
	}
	earlier = earlier && st.URL == urlSum(t.req.URL)
	idle := startIdle(ctx, t.fetcher.opts.Idle)
	defer idle.stop()
	files, digest, err := t.plan(idle, ref)
	if err == nil {
		err = t.writeArchive(files, digest, earlier && st.IfRange == digest)
	} else if !earlier {
		return err
	}
	if err != nil {
		// As long as nobody has said that the image is another one, what there is of it is worth keeping.
		t.resumable = idle.ended() != nil || slices.Contains([]fault.Reason{fault.TransferServerUnreachable, fault.TransferIncomplete}, fault.ReasonOf(err))
	}
	return err
}

// An archived is a file of the layout: data, or the blob of a digest.
type archived struct {
	name string
	data []byte
	blob string
	size int64
	from *registry
}

// tarBlock is the unit of a tar archive in bytes.
const tarBlock = 512

// end returns where the file ends in the archive when it begins at offset: its header comes before it, and it is filled up.
func (a archived) end(offset int64) int64 {
	return offset + tarBlock + (a.size+tarBlock-1)/tarBlock*tarBlock
}

// plan asks for the manifest and lists the files of the layout. digest is that of the manifest.
func (t *transfer) plan(idle *idle, ref imageReference) (files []archived, digest string, err error) {
	r := newRegistry(t, idle, ref)
	if err := r.login(); err != nil {
		return nil, "", err
	}
	raw, m, err := r.image()
	if err != nil {
		return nil, "", err
	}
	digest = digestOf(raw)
	own, err := v1.NewHash(digest)
	if err != nil {
		return nil, "", err
	}
	index, err := json.Marshal(v1.IndexManifest{
		SchemaVersion: 2, MediaType: types.OCIImageIndex,
		Manifests: []v1.Descriptor{{
			MediaType: m.MediaType, Size: int64(len(raw)), Digest: own, Annotations: map[string]string{imageName: ref.repo.Name()},
		}},
	})
	if err != nil {
		return nil, "", fmt.Errorf("cannot write the index of the image: %w", err)
	}
	add := func(f archived) {
		if !slices.ContainsFunc(files, func(g archived) bool { return g.name == f.name }) {
			files = append(files, f)
		}
	}
	blobName := func(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }
	layout := []byte(`{"imageLayoutVersion":"1.0.0"}`)
	add(archived{name: "oci-layout", data: layout, size: int64(len(layout))})
	add(archived{name: "index.json", data: index, size: int64(len(index))})
	add(archived{name: blobName(own), data: raw, size: int64(len(raw))})
	for _, d := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		const most = 1<<33 - 1 // bytes of a file in the simple tar format, ustar
		switch {
		case d.Digest.Algorithm != "sha256" || d.Size < 0:
			return nil, "", fault.Errorf(fault.PackageCorrupt, "the manifest names a blob without a SHA-256 digest and a size")
		case d.Size > most:
			return nil, "", fault.Errorf(fault.SystemResourcesExceeded, "a layer has %s", sizeText(d.Size))
		}
		add(archived{name: blobName(d.Digest), blob: d.Digest.String(), size: d.Size, from: r})
	}
	return files, digest, nil
}

// writeArchive writes the files into the part file; those that are there already, if it is of the same image, stay.
func (t *transfer) writeArchive(files []archived, digest string, same bool) error {
	total := int64(0)
	for _, f := range files {
		total = f.end(total)
	}
	total += 2 * tarBlock // the end mark
	if same {
		if err := t.part.shorten(func(has int64) int64 {
			keep := int64(0)
			for _, f := range files {
				if end := f.end(keep); end <= has {
					keep = end
					continue
				}
				break
			}
			return keep
		}); err != nil {
			return err
		}
	} else if err := t.part.restart(); err != nil {
		return err
	}
	if err := t.part.expect(total); err != nil {
		return err
	}
	if err := t.part.saveState(partState{Version: stateVersion, URL: urlSum(t.req.URL), Boot: bootID(), Total: total, IfRange: digest}); err != nil {
		return err
	}
	t.progress(t.part.size, total)
	archive := tar.NewWriter(writerFunc(func(p []byte) (int, error) {
		n, err := t.part.Write(p)
		t.progress(t.part.size, total)
		return n, err
	}))
	begun, offset := t.part.size, int64(0)
	for _, f := range files {
		if offset = f.end(offset); offset <= begun {
			continue
		}
		header := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644, Size: f.size, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		var err error
		if f.blob == "" {
			_, err = io.Copy(archive, bytes.NewReader(f.data))
		} else {
			err = f.from.blob(archive, f.blob, f.size)
		}
		if err == nil {
			err = archive.Flush() // fills it up: what follows may never come
		}
		if err != nil {
			return err
		}
	}
	return archive.Close()
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// The kinds of manifests, in the order in which they are asked for.
var (
	indexTypes = []types.MediaType{types.OCIImageIndex, types.DockerManifestList}
	imageTypes = []types.MediaType{types.OCIManifestSchema1, types.DockerManifestSchema2}
)

// image returns the manifest of the image for this device, as it is and parsed. Its MediaType is set.
func (r *registry) image() ([]byte, *v1.Manifest, error) {
	var accept []string
	for _, t := range append(slices.Clone(imageTypes), indexTypes...) {
		accept = append(accept, string(t))
	}
	raw, err := r.manifest(r.ref.manifest, accept)
	if err != nil {
		return nil, nil, err
	}
	index, m, err := parseManifest(raw)
	if err != nil || m != nil {
		return raw, m, err
	}
	d, err := choose(index, devicePlatforms())
	if err != nil {
		return nil, nil, err
	}
	raw, err = r.manifest(d.Digest.String(), accept)
	if err != nil {
		return nil, nil, err
	}
	_, m, err = parseManifest(raw)
	if err == nil && (m == nil || int64(len(raw)) != d.Size) {
		err = fault.Errorf(fault.PackageCorrupt, "the index names a manifest that is another one")
	}
	return raw, m, err
}

// parseManifest returns an index or the manifest of an image. What it is, its content says: the answer's type is not covered by the digest.
func parseManifest(raw []byte) (*v1.IndexManifest, *v1.Manifest, error) {
	var kind struct {
		MediaType types.MediaType  `json:"mediaType"`
		Manifests *json.RawMessage `json:"manifests"`
		Layers    *json.RawMessage `json:"layers"`
	}
	corrupt := fault.Errorf(fault.PackageCorrupt, "the registry sent no manifest")
	if json.Unmarshal(raw, &kind) != nil || kind.Manifests != nil && kind.Layers != nil {
		return nil, nil, corrupt
	}
	switch {
	case kind.Manifests != nil && (kind.MediaType == "" || slices.Contains(indexTypes, kind.MediaType)):
		index, err := v1.ParseIndexManifest(bytes.NewReader(raw))
		if err != nil {
			return nil, nil, corrupt
		}
		return index, nil, nil
	case kind.Layers != nil && (kind.MediaType == "" || slices.Contains(imageTypes, kind.MediaType)):
		m, err := v1.ParseManifest(bytes.NewReader(raw))
		if err != nil {
			return nil, nil, corrupt
		}
		if m.MediaType == "" {
			m.MediaType = types.OCIManifestSchema1
		}
		return nil, m, nil
	}
	return nil, nil, fault.Errorf(fault.TransferFileUnavailable, "the registry has the image in a form that is not understood")
}

// choose returns the image of an index for the first of the wanted platforms that it has.
func choose(index *v1.IndexManifest, wanted []v1.Platform) (v1.Descriptor, error) {
	var has []string
	for _, want := range wanted {
		for _, d := range index.Manifests {
			if d.Platform == nil || !slices.Contains(imageTypes, d.MediaType) || d.Digest.Algorithm != "sha256" {
				continue
			}
			if p := d.Platform; p.OS == want.OS && p.Architecture == want.Architecture && p.Variant == want.Variant {
				return d, nil
			}
		}
	}
	for _, d := range index.Manifests {
		if d.Platform != nil && d.Platform.OS == "linux" {
			has = append(has, strings.TrimSuffix(d.Platform.Architecture+"/"+d.Platform.Variant, "/"))
		}
	}
	return v1.Descriptor{}, fault.Errorf(fault.TransferFileUnavailable, "the image is not there for %s/%s, but for %q", wanted[0].OS, wanted[0].Architecture, has)
}

// devicePlatforms returns what runs on this device, best first.
func devicePlatforms() []v1.Platform {
	var uts unix.Utsname
	machine := ""
	if unix.Uname(&uts) == nil {
		machine = unix.ByteSliceToString(uts.Machine[:])
	}
	return platforms(runtime.GOARCH, machine)
}

// platforms returns what runs on a processor, by the name that Go has for it and that the kernel has. Images have variants as OCI's image
// index names them (section Platform Variants).
func platforms(arch, machine string) []v1.Platform {
	variants := []string{""}
	switch arch {
	case "arm64":
		variants = []string{"v8", ""}
	case "amd64":
		variants = []string{"", "v1"}
	case "arm":
		variants = []string{"v7", "v6", "v5", ""} // also on a kernel of 64 bits
		switch {
		case strings.HasPrefix(machine, "armv6"):
			variants = variants[1:]
		case strings.HasPrefix(machine, "armv5"):
			variants = variants[2:]
		}
	}
	var out []v1.Platform
	for _, v := range variants {
		out = append(out, v1.Platform{OS: "linux", Architecture: arch, Variant: v})
	}
	return out
}
