package org.smmd.osgi.host;

class FelixIT extends HostSuite {
  @Override
  String framework() {
    return "felix.jar";
  }
}
