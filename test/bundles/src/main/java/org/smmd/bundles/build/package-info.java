/**
 * Builds the test bundles: {@link org.smmd.bundles.build.Build} is the list of them, {@link org.smmd.bundles.build.Jar} writes one. The
 * same sources always give the same bytes, so that tests may compare digests.
 */
package org.smmd.bundles.build;
