package org.smmd.osgi.host;

import java.io.IOException;
import java.io.InputStream;
import java.net.URL;
import java.util.Dictionary;
import java.util.MissingResourceException;
import java.util.PropertyResourceBundle;
import org.osgi.framework.Bundle;
import org.osgi.framework.Constants;

/**
 * What a bundle's manifest says of it. A value that begins with % is looked up in the default properties of the bundle and in no others:
 * the vendor is part of a unit's identity and must not depend on the locale of the device.
 */
record BundleHeaders(String vendor, String description, boolean lazy, boolean fragment) {
  static BundleHeaders of(Bundle bundle) {
    Dictionary<String, String> raw = bundle.getHeaders("");
    String policy = raw.get(Constants.BUNDLE_ACTIVATIONPOLICY);
    PropertyResourceBundle words = words(bundle, raw);
    return new BundleHeaders(
        localize(raw.get(Constants.BUNDLE_VENDOR), words),
        localize(raw.get(Constants.BUNDLE_DESCRIPTION), words),
        policy != null && policy.trim().startsWith(Constants.ACTIVATION_LAZY),
        raw.get(Constants.FRAGMENT_HOST) != null);
  }

  private static PropertyResourceBundle words(Bundle bundle, Dictionary<String, String> raw) {
    String base = raw.get(Constants.BUNDLE_LOCALIZATION);
    if (base == null) {
      base = Constants.BUNDLE_LOCALIZATION_DEFAULT_BASENAME;
    }
    URL entry = bundle.getEntry(base.trim() + ".properties");
    if (entry == null) {
      return null;
    }
    try (InputStream in = entry.openStream()) {
      return new PropertyResourceBundle(in);
    } catch (IOException | IllegalArgumentException e) {
      return null; // damaged: the keys are told instead
    }
  }

  private static String localize(String value, PropertyResourceBundle words) {
    if (value == null) {
      return "";
    }
    String text = value.trim();
    if (!text.startsWith("%")) {
      return Words.cut(text);
    }
    String key = text.substring(1);
    if (words != null) {
      try {
        return Words.cut(words.getString(key).trim());
      } catch (MissingResourceException | ClassCastException e) {
        // falls through to the key
      }
    }
    return Words.cut(key);
  }
}
