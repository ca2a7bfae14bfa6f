package org.smmd.osgi.host;

class EquinoxIT extends HostSuite {
  @Override
  String framework() {
    return "equinox.jar";
  }
}
