package packages

import (
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/smmd-project/smmd/agent/fault"
)

// docker is the scheme of images in registries, as skopeo(1) and others write it: docker://registry/name:tag, docker://registry/name@digest.
const docker = "docker"

// An imageReference is a URL of the scheme docker. Its registry is always named: what has no dot in it is a host of the local network, never an
// image of Docker Hub.
type imageReference struct {
	repo     name.Repository
	manifest string // a tag, or a digest when pinned
	pinned   bool
}

// nameRE matches names of images (OCI distribution specification, section Pulling manifests). The library takes ".." in them.
var nameRE = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)

// parseImage takes a URL apart. The tag is latest if there is neither tag nor digest; with both, the digest counts.
func parseImage(u *url.URL) (imageReference, error) {
	malformed := fault.Errorf(fault.InvalidArguments, "it is neither docker://registry/name:tag nor docker://registry/name@sha256:digest")
	if u.Hostname() == "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "" {
		return imageReference{}, malformed
	}
	path := strings.TrimPrefix(u.Path, "/")
	path, digest, pinned := strings.Cut(path, "@")
	ref := imageReference{manifest: digest, pinned: pinned}
	if colon := strings.LastIndexByte(path, ':'); colon > strings.LastIndexByte(path, '/') {
		path, ref.manifest = path[:colon], path[colon+1:]
		if pinned {
			ref.manifest = digest
		} else if ref.manifest == "" {
			return imageReference{}, malformed
		}
	} else if !pinned {
		ref.manifest = name.DefaultTag
	}
	// The library takes a first part without dot and port for a name at Docker Hub; with the port it knows a registry.
	host := u.Host
	if !strings.ContainsAny(host, ".:") && host != "localhost" {
		host += ":443"
	}
	checked, err := name.NewRepository(host + "/" + path)
	if err != nil || !nameRE.MatchString(path) {
		return imageReference{}, malformed
	}
	if pinned {
		_, err = name.NewDigest(checked.Name() + "@" + ref.manifest)
	} else {
		_, err = name.NewTag(checked.Name() + ":" + ref.manifest)
	}
	if err != nil || pinned && !strings.HasPrefix(ref.manifest, "sha256:") {
		return imageReference{}, malformed
	}
	ref.repo = checked
	return ref, nil
}

// loopback reports whether host, without port, is the device itself.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
