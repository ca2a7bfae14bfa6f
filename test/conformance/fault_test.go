package conformance

import (
	"fmt"
	"strings"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/fileserver"
	"github.com/smmd-project/smmd/test/support"
)

// faultChecks are about the fault of one operation.
var faultChecks = []check{
	{id: "F-01", what: "user information in the URL: 9003", f: func(b *bench) {
		url := "http://user:word@127.0.0.1/file"
		b.refused(9003, install(url, b.env(b.k.env)))
		b.refused(9003, client.Operation{Kind: "Update", UUID: b.unit().uuid, URL: url})
	}},
	{id: "F-02", what: "unsupported scheme: 9013", f: bothFail(9013, func(*bench) string { return "gopher://127.0.0.1/file" })},
	{id: "F-03", what: "wrong credentials: 9012", f: func(b *bench) {
		f := file([]byte("secret"))
		f.Auth = fileserver.Auth{Username: "user", Password: "right", Schemes: []string{"basic", "digest"}}
		op := install(b.Serve("/"+b.k.adapter+"/guarded", f), b.env(b.k.env))
		b.refused(9012, op)
		op.Username, op.Password = "user", "wrong"
		b.refused(9012, op)
		b.refused(9012, client.Operation{Kind: "Update", UUID: b.unit().uuid, URL: op.URL, Username: "user", Password: "wrong"})
	}},
	{id: "F-04", what: "no connection: 9015", f: bothFail(9015, func(*bench) string { return "http://127.0.0.1:1/file" })},
	{id: "F-05", what: "no such file: 9016", f: bothFail(9016, func(b *bench) string { return b.Files.URL + "/nothing" })},
	{id: "F-06", what: "the connection is cut in the body: 9017", f: bothFail(9017, func(b *bench) string {
		return b.Serve("/"+b.k.adapter+"/cut", fileserver.File{Content: b.content(b.k, program{name: "cut", version: "1"}), Cut: fileserver.Bytes(50), Range: fileserver.RangeIgnored})
	})},
	{id: "F-07", what: "no package, half a package: 9018", f: func(b *bench) {
		bothFail(9018, func(b *bench) string {
			return b.Serve("/"+b.k.adapter+"/garbage", file([]byte(strings.Repeat("garbage ", 512))))
		})(b)
		whole := b.content(b.k, program{name: "half", version: "1"})
		b.refused(9018, install(b.Serve("/"+b.k.adapter+"/half", file(whole[:len(whole)/2])), b.env(b.k.env)))
	}},
	{id: "F-08", what: "malformed UUID: 9022", f: func(b *bench) {
		url := b.serve(program{name: "unnamed", version: "1"})
		for _, uuid := range []string{"no-uuid", unknown[1:] + "x"} {
			for _, op := range []client.Operation{{Kind: "Install", URL: url, ExecutionEnvRef: b.env(b.k.env)}, {Kind: "Update", URL: url}, {Kind: "Uninstall"}} {
				op.UUID = uuid
				equal(b.t, "the UUID of the result", b.refused(9022, op).UUID, "")
			}
		}
	}},
	{id: "F-09", what: "Install in an unknown environment: 9023", f: func(b *bench) {
		b.refused(9023, install(b.serve(program{name: "lost", version: "1"}), modules+"ExecEnv.4711."))
	}},
	{id: "F-10", what: "a disabled environment: 9024", f: func(b *bench) {
		u := b.off()
		b.refused(9024, install(b.serve(program{name: "late", version: "1"}), b.env(b.k.spare)))
		b.refused(9024, client.Operation{Kind: "Update", UUID: u.uuid, URL: b.serve(program{name: u.name, version: "2"})})
		b.refused(9024, uninstall(u.uuid))
	}},
	{id: "F-11", what: "a package of another kind: 9025", f: func(b *bench) {
		for _, other := range kinds {
			if other != b.k {
				content := b.content(other, program{name: "stranger", version: "1"})
				bothFail(9025, func(b *bench) string { return b.Serve("/"+b.k.adapter+"/of-"+other.adapter, file(content)) })(b)
			}
		}
	}},
	{id: "F-12", what: "Install of a version that is there: 9026", f: func(b *bench) {
		u := b.unit()
		b.refused(9026, install(u.url, b.env(b.k.env)))
	}},
	{id: "F-13", what: "too large: 9027", f: bothFail(9027, func(b *bench) string {
		return b.Serve("/"+b.k.adapter+"/large", fileserver.File{Content: []byte("the beginning"), Length: fileserver.Bytes(1 << 40)})
	})},
	{id: "F-14", what: "an unknown unit: 9028", f: func(b *bench) {
		u := b.unit()
		for _, kind := range []string{"Update", "Uninstall"} {
			b.refused(9028, client.Operation{Kind: kind, UUID: unknown})
			b.refused(9028, client.Operation{Kind: kind, UUID: u.uuid, Version: "47.11.0"})
		}
		b.refused(9028, client.Operation{Kind: "Update", URL: b.Files.URL + "/nothing"})
		b.refused(9028, client.Operation{Kind: "Uninstall", UUID: u.uuid, ExecutionEnvRef: b.env(b.k.spare)})
	}},
	{id: "F-15", what: "a unit that is busy: 9029", f: busy},
	{id: "F-16", what: "a unit that made an environment which holds something: 9029", not: always("no unit makes an environment")},
	{id: "F-17", what: "an older version: 9030 if it is refused (here it is not)", f: func(b *bench) {
		u := b.install(program{name: "older", version: "2"}, b.k.env)
		r := b.done(client.Operation{Kind: "Update", UUID: u.uuid, URL: b.serve(program{name: "older", version: "1"})})
		equal(b.t, "the version", r.Version, b.version("1"))
		b.done(uninstall(u.uuid))
	}},
	{id: "F-18", what: "Update of one of two versions without Version: 9031", f: func(b *bench) {
		u := b.versions()[0]
		b.refused(9031, client.Operation{Kind: "Update", UUID: u.uuid, URL: b.serve(program{name: u.name, version: "3", does: beside})})
	}},
	{id: "F-19", what: "Update to a version that is there: 9032", f: func(b *bench) {
		both := b.versions()
		b.refused(9032, client.Operation{Kind: "Update", UUID: both[0].uuid, Version: both[0].version, URL: both[1].url})
		b.change(uninstall(both[0].uuid))
	}},
	{id: "F-20", what: "Update of all with Version: 9003", f: func(b *bench) { b.refused(9003, client.Operation{Kind: "Update", Version: "1"}) }},
	{id: "F-21", what: "no operation, or none that there is: fault of the RPC", apart: whole, f: func(b *bench) {
		last := b.last()
		for _, ops := range [][]client.Operation{nil, {{Kind: "Reinstall", UUID: unknown}}, {uninstall(unknown), {}}} {
			id, err := b.Client.ChangeDUState(b.t.Context(), ops, "key", "")
			if e := isError(err); e.CWMP != 9001 && e.CWMP != 9002 && e.Name != "InvalidArgs" {
				b.t.Errorf("%s is accepted as %d, or refused with %v", support.Show(ops), id, err)
			}
		}
		b.last() // by then a request that was accepted by mistake would have a report, too
		equal(b.t, "the reports", b.reports(last), "[]")
	}},
	{id: "F-22", what: "FaultString has 256 characters at most, and none for a success", f: func(b *bench) {
		// What fails, refused looks at.
		b.refused(9016, install(b.Files.URL+"/"+strings.Repeat("no", 450), b.env(b.k.env)))
		b.refused(9028, client.Operation{Kind: "Update", URL: b.Files.URL + "/" + strings.Repeat("ü", 200)})
		u := b.install(program{name: "silent", version: "1"}, b.k.env)
		equal(b.t, "the fault of a success", b.done(uninstall(u.uuid)).FaultString, "")
	}},
}

// bothFail is a check of an Install and an Update from a URL.
func bothFail(code uint32, url func(*bench) string) func(*bench) {
	return func(b *bench) {
		u, url := b.unit(), url(b)
		b.refused(code, install(url, b.env(b.k.env)))
		b.refused(code, client.Operation{Kind: "Update", UUID: u.uuid, URL: url})
	}
}

// versions are two versions of a unit in one environment.
func (b *bench) versions() (both [2]unit) {
	b.t.Helper()
	for i := range both {
		name := fmt.Sprint("versions", i)
		u, ok := b.has.units[name]
		if ok {
			_, err := b.Client.GetParameterValues(b.t.Context(), u.du+"UUID")
			ok = err == nil
		}
		if !ok {
			u = b.install(program{name: "versions", version: fmt.Sprint(i + 1), does: beside}, b.k.env)
			b.has.units[name] = u
		}
		both[i] = u
	}
	return both
}

func busy(b *bench) {
	u := b.unit()
	release := b.occupy(u)
	b.refused(9029, client.Operation{Kind: "Update", UUID: u.uuid, URL: b.serve(program{name: u.name, version: "2"})})
	b.refused(9029, uninstall(u.uuid))
	release()
}

// occupy begins an update that fails when release is called, which waits for that.
func (b *bench) occupy(u unit) (release func()) {
	b.t.Helper()
	c := make(chan struct{})
	closed := false
	b.t.Cleanup(func() {
		if !closed {
			close(c)
		}
	})
	url := b.Serve("/"+b.t.Name()+"/nothing-yet", fileserver.File{Status: 404, Hang: fileserver.Bytes(-1), Release: c})
	id := b.request("occupied", client.Operation{Kind: "Update", UUID: u.uuid, URL: url})
	b.wanted(url)
	return func() {
		close(c)
		closed = true
		equal(b.t, "the update that has kept the unit busy", b.report(id).Results[0].FaultCode, 9016)
		b.acknowledge(id)
	}
}
